// The mean of `terms` terms a match, from a sum and a count of matches for each of `parts` blocks; 0
// where there is no match.
//
// Reads 8 bytes a block, of which there are at most some thousand; writes 4. One block of 256 threads.
// Deterministic: a thread adds its parts in order, then the block's tree.
#include "common/block_sum.cuh"
#include "common/numeric.cuh"

constexpr int threads = 256;

extern "C" __global__ void __launch_bounds__(threads)
    match_mean(const float* __restrict__ sums, const int* __restrict__ counts, int parts, int terms,
               float* __restrict__ y) {
    SHARED_ARRAY(float, sum_scratch, threads / 32);
    SHARED_ARRAY(int, count_scratch, threads / 32);
    float sum = 0.0f;
    int count = 0;
    for (int i = threadIdx.x; i < parts; i += threads) {
        sum += sums[i];
        count += counts[i];
    }
    sum = block_sum<threads>(sum, sum_scratch);
    count = block_sum<threads>(count, count_scratch);
    if (threadIdx.x == 0) *y = mean_over_matches(sum, count, terms);
}
