// The number of matches of a table, from what match_count.cu left (one number for every 1024 rows).
#pragma once
#include "common/block_sum.cuh"
#include "common/matches.cuh"
#include "common/numeric.cuh"

constexpr int match_count_rows = 1024;

// Called by whole warps; the same in every lane.
DEVICE int total_matches(const int* counts, int capacity) {
    int parts = (capacity + match_count_rows - 1) / match_count_rows;
    int count = 0;
    for (int i = threadIdx.x % 32; i < parts; i += 32) count += counts[i];
    return warp_sum(count);
}

// Ends a mean over matches: adds up what the block's threads have, and leaves the mean where there is one block, else
// the block's sum and count for match_mean.cu. Once in a kernel, by all threads.
template <int threads>
DEVICE void leave_mean(float sum, int count, int terms, float* y, float* sums, int* counts) {
    SHARED_ARRAY(float, sum_scratch, threads / 32);
    SHARED_ARRAY(int, count_scratch, threads / 32);
    sum = block_sum<threads>(sum, sum_scratch);
    count = block_sum<threads>(count, count_scratch);
    if (threadIdx.x != 0) return;
    if (gridDim.x == 1) {
        *y = mean_over_matches(sum, count, terms);
    } else {
        sums[blockIdx.x] = sum;
        counts[blockIdx.x] = count;
    }
}
