// How many rows of a match table are used: what a mean over matches divides by.
//
// Reads one column of the table (a sector of 32 bytes a row), writes a number a block. Blocks of 256
// threads, 1024 rows each; who needs the count adds the numbers (common/match_count.cuh). Integers:
// deterministic in any order.
#include "common/block_sum.cuh"
#include "common/match_count.cuh"

constexpr int threads = 256;

extern "C" __global__ void __launch_bounds__(threads)
    match_count(const float* __restrict__ table, int capacity, int* __restrict__ counts) {
    SHARED_ARRAY(int, scratch, threads / 32);
    int count = 0;
    for (int i = 0; i < match_count_rows; i += threads) {
        int row = blockIdx.x * match_count_rows + i + threadIdx.x;
        if (row < capacity) count += is_match(table, row);
    }
    count = block_sum<threads>(count, scratch);
    if (threadIdx.x == 0) counts[blockIdx.x] = count;
}
