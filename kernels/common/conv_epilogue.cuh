// What happens to a convolution's sums before they are written: bias, batch statistics, activation, masked
// residual, the write into a channel slice.
//
// Compiled with -DACTIVATION, HAS_BIAS, BIAS_PACK, HAS_RESIDUAL, HAS_STATISTICS, Y_TYPE, Y_PACK, RESIDUAL_TYPE,
// RESIDUAL_PACK; packs are the elements that one instruction moves at every multiple of the pack.
#pragma once
#include "common/activation.cuh"
#include "common/types.cuh"

// The output's side of a launch. Channels are counted over all groups.
struct Output {
    Y_TYPE* y;
    int y_stride;
    const RESIDUAL_TYPE* residual;  // y itself where the residual lies in it: each thread reads what it then writes
    int residual_stride, residual_channels;
};

constexpr int smaller(int a, int b) { return a < b ? a : b; }

// The biases of `run` neighbouring channels from `channel` on; zero from `channel_end` on.
template <int run>
DEVICE void load_bias(float (&into)[run], const float* bias, int channel, int channel_end) {
    constexpr int pack = smaller(run, BIAS_PACK);
#pragma unroll
    for (int e = 0; e < run; e += pack) {
        float part[pack] = {};
        if (channel + e < channel_end) load_pack(part, bias + channel + e);
#pragma unroll
        for (int i = 0; i < pack; i++) into[e + i] = part[i];
    }
}

// Writes `run` neighbouring channels of one pixel from `channel` on, of which those below `channel_end` exist.
// Both packs, where they are no longer than the run, divide `channel`.
template <int run>
DEVICE void write_run(const Output& out, int pixel, int channel, int channel_end, const float (&sum)[run]) {
    float value[run];
#pragma unroll
    for (int e = 0; e < run; e++) value[e] = activate<ACTIVATION>(sum[e]);
#if HAS_RESIDUAL
    constexpr int residual_pack = smaller(run, RESIDUAL_PACK);
    const RESIDUAL_TYPE* residual = out.residual + static_cast<long long>(pixel) * out.residual_stride + channel;
    int residual_end = min(channel_end, out.residual_channels);
#pragma unroll
    for (int e = 0; e < run; e += residual_pack) {
        if (channel + e >= residual_end) continue;
        float add[residual_pack];
        load_pack(add, residual + e);
#pragma unroll
        for (int i = 0; i < residual_pack; i++) value[e + i] += add[i];
    }
#endif
    constexpr int pack = smaller(run, Y_PACK);
    Y_TYPE* y = out.y + static_cast<long long>(pixel) * out.y_stride + channel;
#pragma unroll
    for (int e = 0; e < run; e += pack) {
        if (channel + e >= channel_end) continue;
        float part[pack];
#pragma unroll
        for (int i = 0; i < pack; i++) part[i] = value[e + i];
        store_pack(y + e, part);
    }
}
