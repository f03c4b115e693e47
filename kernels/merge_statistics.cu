// The second of two levels of a batch norm's statistics: the means and Σ (z − mean)² of consecutive runs of pixels,
// partials[run][2][channels], merged by Chan, Golub & LeVeque's rule (1979) into mean and biased variance.
//
// Reads the partials once and writes 8 bytes a channel. 32 channels × 32 rows of threads: each row merges every 32nd
// run in order, then the rows merge as a tree, so the bits do not depend on the schedule.
#include "common/intrinsics.cuh"

struct Statistics {
    float count, mean, squares;
};

// What `a` and `b` have together. Exact where one of them is empty.
DEVICE Statistics merge(const Statistics& a, const Statistics& b) {
    float count = a.count + b.count;
    if (count == 0.0f) return a;
    float share = b.count / count;
    float delta = b.mean - a.mean;
    return {count, a.mean + delta * share, a.squares + b.squares + delta * delta * a.count * share};
}

// `pixels` in runs of `run`, the last one shorter.
extern "C" __global__ void __launch_bounds__(1024)
    merge_statistics(const float* partials, int runs, int channels, int pixels, int run, float* mean, float* variance) {
    SHARED_ARRAY(float, shared, 3 * 1024);
    int row = threadIdx.x / 32;
    int channel = blockIdx.x * 32 + threadIdx.x % 32;
    Statistics total = {0.0f, 0.0f, 0.0f};
    if (channel < channels) {
#pragma unroll 4
        for (int i = row; i < runs; i += 32) {
            const float* partial = partials + 2ll * i * channels + channel;
            total = merge(total, {static_cast<float>(min(run, pixels - i * run)), partial[0], partial[channels]});
        }
    }
    float* own = shared + threadIdx.x;
    own[0] = total.count;
    own[1024] = total.mean;
    own[2048] = total.squares;
    for (int half = 16; half > 0; half /= 2) {
        __syncthreads();
        if (row < half) {
            const float* other = own + half * 32;
            total = merge(total, {other[0], other[1024], other[2048]});
            own[0] = total.count;
            own[1024] = total.mean;
            own[2048] = total.squares;
        }
    }
    if (row != 0 || channel >= channels) return;
    mean[channel] = total.mean;
    variance[channel] = total.squares / total.count;
}
