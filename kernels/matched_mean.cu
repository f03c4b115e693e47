// The mean over matches of scale·value + offset, and its gradient; 0 where there is no match.
//
// matched_mean_forward: reads a value a match and the table (40 bytes a row); writes a sum and a count a
//   block, which match_mean.cu adds, or, where there is one block, the mean. Blocks of 256 threads,
//   1024 rows each.
// matched_mean_gradient: dx[row] = scale·dy/matches for a match, 0 for an unused row. Reads the table,
//   writes 4 bytes a row; match_count.cu counted before. A thread a row.
// Deterministic: fixed order, a tree in each block.
#include "common/block_sum.cuh"
#include "common/match_count.cuh"
#include "common/numeric.cuh"

constexpr int threads = 256;

#ifndef Y_TYPE
extern "C" __global__ void __launch_bounds__(threads)
    matched_mean_forward(const X_TYPE* __restrict__ x, const float* __restrict__ table, int capacity, float scale,
                         float offset, float* __restrict__ y, float* __restrict__ sums, int* __restrict__ counts,
                         StatusWord* status) {
    float sum = 0.0f;
    int count = 0;
    for (int i = 0; i < match_count_rows; i += threads) {
        int row = blockIdx.x * match_count_rows + i + threadIdx.x;
        Match match;
        if (row < capacity && read_match(table, row, MatchLimits{}, status, match)) {
            // Term by term, as it is defined: 1 − CIoU of a good box is exact.
            sum += scale * to_float(x[static_cast<size_t>(row) * X_STRIDE]) + offset;
            count++;
        }
    }
    leave_mean<threads>(sum, count, 1, y, sums, counts);
}
#else
extern "C" __global__ void __launch_bounds__(threads)
    matched_mean_gradient(const float* __restrict__ table, const int* __restrict__ counts,
                          const float* __restrict__ dy, int capacity, float scale, Y_TYPE* __restrict__ dx,
                          StatusWord* status) {
    int count = total_matches(counts, capacity);
    int row = blockIdx.x * threads + threadIdx.x;
    if (row >= capacity) return;
    Match match;
    bool used = read_match(table, row, MatchLimits{}, status, match);
    dx[static_cast<size_t>(row) * Y_STRIDE] =
        from_float<Y_TYPE>(used ? scale * *dy / static_cast<float>(count) : 0.0f);
}
#endif
