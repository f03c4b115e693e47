// The number of matches of a table, from what match_count.cu left (one number for every 1024 rows).
#pragma once
#include "common/block_sum.cuh"
#include "common/matches.cuh"

constexpr int match_count_rows = 1024;

// Called by whole warps; the same in every lane.
DEVICE int total_matches(const int* counts, int capacity) {
    int parts = (capacity + match_count_rows - 1) / match_count_rows;
    int count = 0;
    for (int i = threadIdx.x % 32; i < parts; i += 32) count += counts[i];
    return warp_sum(count);
}
