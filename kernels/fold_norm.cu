// A convolution's weight and bias with the norm behind it folded in: w' = w·γ/√(var + ε), b' = β − mean·γ/√(var + ε),
// in double precision: it runs once, when weights are loaded.
//
// Reads and writes the weight once. A block an output channel, whose `each` weights are consecutive.
#include "common/intrinsics.cuh"

extern "C" __global__ void __launch_bounds__(256)
    fold_norm(const float* weight, const float* mean, const float* variance, const float* gamma, const float* beta,
              float* folded, float* bias, int each, float epsilon) {
    SHARED_ARRAY(double, factor, 1);
    int channel = blockIdx.x;
    if (threadIdx.x == 0) {
        factor[0] = gamma[channel] / sqrt(static_cast<double>(variance[channel]) + epsilon);
        bias[channel] = static_cast<float>(beta[channel] - mean[channel] * factor[0]);
    }
    __syncthreads();
    long long start = static_cast<long long>(channel) * each;
    for (int i = threadIdx.x; i < each; i += 256) folded[start + i] = static_cast<float>(weight[start + i] * factor[0]);
}
