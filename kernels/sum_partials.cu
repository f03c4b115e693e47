// The second of two levels of a sum: y[c] = factor · Σ partials[block][c].
//
// Reads the partials once. 32 channels × 32 rows of threads: each row adds every 32nd block's sums in order, then the
// rows are added as a tree, so the bits do not depend on the schedule.
#include "common/reduce.cuh"

extern "C" __global__ void __launch_bounds__(1024)
    sum_partials(const float* partials, int blocks, int channels, float factor, float* y) {
    SHARED_ARRAY(float, shared, 1024);
    int row = threadIdx.x / 32, column = threadIdx.x % 32;
    int channel = blockIdx.x * 32 + column;
    float sum[1] = {};
    if (channel < channels) {
#pragma unroll 4
        for (int i = row; i < blocks; i += 32) sum[0] += partials[static_cast<long long>(i) * channels + channel];
    }
    sum_rows<32, 32>(sum, shared, row, column);
    if (row == 0 && channel < channels) y[channel] = factor * sum[0];
}
