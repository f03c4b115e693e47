// A batch norm as scale = γ/√(var + ε) and shift = β − mean·scale, in double precision. A thread a channel; 24 bytes
// each.
extern "C" __global__ void __launch_bounds__(256)
    norm_affine(const float* mean, const float* variance, const float* gamma, const float* beta, float* scale,
                float* shift, int channels, float epsilon) {
    int channel = blockIdx.x * 256 + threadIdx.x;
    if (channel >= channels) return;
    double factor = gamma[channel] / sqrt(static_cast<double>(variance[channel]) + epsilon);
    scale[channel] = static_cast<float>(factor);
    shift[channel] = static_cast<float>(beta[channel] - mean[channel] * factor);
}
