// running' = running + momentum · (statistics − running), the mean (blockIdx.y 0) and the variance (1), whose new
// value is first made unbiased. Over `running` where the output lies there. A thread a channel; 12 bytes each.
extern "C" __global__ void __launch_bounds__(256)
    update_running(const float* statistics, int statistics_stride, const float* running, int running_stride,
                   float* updated, int updated_stride, int channels, float momentum, float unbiased) {
    int channel = blockIdx.x * 256 + threadIdx.x;
    if (channel >= channels) return;
    int row = blockIdx.y;
    float next = statistics[row * statistics_stride + channel] * (row == 0 ? 1.0f : unbiased);
    float old = running[row * running_stride + channel];
    updated[row * updated_stride + channel] = old + momentum * (next - old);
}
