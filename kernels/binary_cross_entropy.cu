// The mean binary cross-entropy of some channels of a map with a map of targets, and its gradient.
// The logits are channels FIRST, FIRST + STEP, … (a head's objectness: one an anchor), read where they
// are.
//
// binary_cross_entropy_forward: CHANNELS logits a pixel against T [pixels, CHANNELS].
//   Reads a logit and a target each; logits apart cost a sector of 32 bytes each, which is the floor
//   for a map that is there already. 25 FLOPs each. Blocks of 256 threads, each a fixed set of
//   elements; the block's sum goes to `sums[block]`, times `scale`. Deterministic: the order of
//   additions is given by the shape.
// binary_cross_entropy_gradient: dx = (σ(z) − t)·dy·scale in the logits, 0 in all other channels.
//   Writes the whole map once (the floor), in packs that may cross pixels where the map is dense;
//   reads as the forward. A thread a pack.
#include "common/block_sum.cuh"
#include "common/numeric.cuh"
#include "common/types.cuh"

constexpr int threads = 256;

// The place of logit k of a pixel.
DEVICE size_t logit_at(int pixel, int k) { return static_cast<size_t>(pixel) * X_STRIDE + FIRST + STEP * k; }
DEVICE size_t target_at(int pixel, int k) { return static_cast<size_t>(pixel) * T_STRIDE + k; }

#ifndef Y_TYPE
// PACK elements at a time; more than one where logits follow each other.
extern "C" __global__ void __launch_bounds__(threads)
    binary_cross_entropy_forward(const X_TYPE* __restrict__ x, const T_TYPE* __restrict__ target, int pixels,
                                 float scale, float* __restrict__ sums) {
    static_assert(PACK == 1 || STEP == 1, "logits that are apart are read one by one");
    SHARED_ARRAY(float, scratch, threads / 32);
    constexpr int packs = CHANNELS / PACK;
    int items = pixels * packs;
    float sum = 0.0f;
    for (int i = blockIdx.x * threads + threadIdx.x; i < items; i += gridDim.x * threads) {
        int pixel = i / packs, k = i % packs * PACK;
        float z[PACK], t[PACK];
        load_pack(z, x + logit_at(pixel, k));
        load_pack(t, target + target_at(pixel, k));
#pragma unroll
        for (int j = 0; j < PACK; j++) sum += binary_cross_entropy(z[j], t[j]);
    }
    sum = block_sum<threads>(sum, scratch);
    if (threadIdx.x == 0) sums[blockIdx.x] = scale * sum;
}
#else
// Y_CHANNELS: those of the whole map. Where PACK does not divide them, the map is dense (Y_STRIDE =
// Y_CHANNELS) and a pack may cross pixels.
extern "C" __global__ void __launch_bounds__(threads)
    binary_cross_entropy_gradient(const X_TYPE* __restrict__ x, const T_TYPE* __restrict__ target,
                                  const float* __restrict__ dy, int pixels, float scale, Y_TYPE* __restrict__ dx) {
    static_assert(Y_CHANNELS % PACK == 0 || Y_STRIDE == Y_CHANNELS, "only a dense map is cut across pixels");
    int elements = pixels * Y_CHANNELS;
    int first = (blockIdx.x * threads + threadIdx.x) * PACK;
    if (first >= elements) return;
    scale *= *dy;
    int pixel = first / Y_CHANNELS, channel = first % Y_CHANNELS;
    size_t to = static_cast<size_t>(pixel) * Y_STRIDE + channel;
    // The first logit at or after the channel.
    int k = channel <= FIRST ? 0 : (channel - FIRST + STEP - 1) / STEP;
    float values[PACK];
#pragma unroll
    for (int j = 0; j < PACK; j++) {
        values[j] = 0.0f;
        if (k < CHANNELS && channel == FIRST + STEP * k && pixel < pixels) {
            float z = to_float(x[logit_at(pixel, k)]);
            float t = to_float(target[target_at(pixel, k)]);
            values[j] = (sigmoid_and_rest(z).value - t) * scale;
            k++;
        }
        if (++channel == Y_CHANNELS) {
            channel = k = 0;
            pixel++;
        }
    }
    if (first + PACK <= elements) {
        store_pack(dx + to, values);
    } else {
        for (int j = 0; j < PACK && first + j < elements; j++) dx[to + j] = from_float<Y_TYPE>(values[j]);
    }
}
#endif
