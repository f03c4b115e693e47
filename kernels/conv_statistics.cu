// statistics [2, c] = mean and biased variance of each channel, from the partials of tiles of pixels: means and sums
// of squared deviations [tiles, 2, c], then the pixels of each tile [tiles].
//
// Chan, Golub and LeVeque's formula for many sets: mean = Σ nᵢ·meanᵢ / n, then
// variance = Σ (M2ᵢ + nᵢ·(meanᵢ − mean)²) / n, in two passes, so nothing cancels.
// Bytes (floor): partials once, 8 bytes a channel and tile (the second pass finds most of them in the L2 cache).
// FLOPs: 6 a channel and tile. Launch: a block for 8 channels (a 32-byte sector), 256 threads.
// Deterministic: 32 lanes a channel, each over its tiles in order, then added in order.
#include "common/types.cuh"

constexpr int channels = 8, lanes = 32;

// Adds up `value` over a channel's lanes; every thread of the channel gets the sum.
DEVICE float sum_over_lanes(float value, float* shared) {
    const int channel = threadIdx.x % channels;
    __syncthreads();
    shared[threadIdx.x] = value;
    __syncthreads();
    float total = 0.0f;
#pragma unroll
    for (int i = 0; i < lanes; i++) total += shared[i * channels + channel];
    return total;
}

extern "C" __global__ void __launch_bounds__(channels* lanes)
conv_statistics(const float* partials, float* statistics, int tiles, int c, int pixels) {
    SHARED_ARRAY(float, shared, channels * lanes);
    const int channel = blockIdx.x * channels + threadIdx.x % channels, lane = threadIdx.x / channels;
    const bool exists = channel < c;
    const float* counts = partials + 2 * static_cast<long long>(tiles) * c;
    const float all = static_cast<float>(pixels);

    float sum = 0.0f;
    if (exists) {
#pragma unroll 4
        for (int i = lane; i < tiles; i += lanes) {
            sum += counts[i] * partials[2 * static_cast<long long>(i) * c + channel];
        }
    }
    const float mean = sum_over_lanes(sum, shared) / all;

    float squares = 0.0f;
    if (exists) {
#pragma unroll 4
        for (int i = lane; i < tiles; i += lanes) {
            const float* tile = partials + 2 * static_cast<long long>(i) * c + channel;
            float away = tile[0] - mean;
            squares += tile[c] + counts[i] * away * away;
        }
    }
    const float variance = sum_over_lanes(squares, shared) / all;
    if (exists && lane == 0) {
        statistics[channel] = mean;
        statistics[c + channel] = variance;
    }
}
