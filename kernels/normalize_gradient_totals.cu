// The second of three launches of a batch norm's backward: dβ = Σ g and dγ = Σ g·ẑ from the partial sums of
// normalize_gradient_sums.cu, and for each channel what the third launch multiplies with:
// dz = scale·g − (base + slope·z), coefficients [4][channels]: scale, shift, base, slope.
//
// Reads the partials once. 32 channels × 32 rows of threads: each row adds every 32nd block's sums in order, then
// the rows are added as a tree. What follows is a few numbers a channel, in double precision.
#include "common/reduce.cuh"

// `share` is 1/m, one over the number of pixels; 0 where the gradient does not flow through the statistics.
extern "C" __global__ void __launch_bounds__(1024)
    normalize_gradient_totals(const float* partials, int blocks, int channels, const float* mean, const float* variance,
                              const float* gamma, const float* beta, float* dgamma, float* dbeta, float* coefficients,
                              float share, float epsilon) {
    SHARED_ARRAY(float, shared, 2 * 1024);
    int row = threadIdx.x / 32, column = threadIdx.x % 32;
    int channel = blockIdx.x * 32 + column;
    float sums[2] = {};
    if (channel < channels) {
#pragma unroll 4
        for (int i = row; i < blocks; i += 32) {
            const float* partial = partials + 2ll * i * channels + channel;
            sums[0] += partial[0];
            sums[1] += partial[channels];
        }
    }
    sum_rows<32, 32>(sums, shared, row, column);
    if (row != 0 || channel >= channels) return;
    double inverse = 1.0 / sqrt(static_cast<double>(variance[channel]) + epsilon);
    double scale = gamma[channel] * inverse;
    double sum = sums[0], dot = sums[1] * inverse;
    dgamma[channel] = static_cast<float>(dot);
    dbeta[channel] = static_cast<float>(sum);
    double through = scale * share;
    float* to = coefficients + channel;
    to[0] = static_cast<float>(scale);
    to[channels] = static_cast<float>(beta[channel] - mean[channel] * scale);
    to[2 * channels] = static_cast<float>(through * (sum - dot * inverse * mean[channel]));
    to[3 * channels] = static_cast<float>(through * dot * inverse);
}
