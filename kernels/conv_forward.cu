// y = act(conv(prologue(x), w) + bias) + residual on the first channels, into a channel slice; with it the batch
// statistics of the sums. An implicit GEMM: M = output pixels, N = a group's output channels, K = (ky, kx, input
// channel); the matrix of windows is never written, its tiles are gathered from x as they are needed.
//
// Fuses: a norm's scale, shift and activation, pending on x (padding stays zero); bias, activation, masked
// residual (also in place), one partial mean and sum of squared deviations a block and channel.
// Bytes (floor): x, w and the residual once, y once; statistics 8 bytes a channel and block of TILE_M pixels.
// FLOPs: 2 · pixels · c_out · taps · c_in / groups, on tensor cores (TENSOR_CORES) or as f32 multiply-adds.
// Launch: x = pixel tiles · channel tiles, the channel tile running fastest, so that blocks that read the same
// pixels run together; z = groups; WARPS_M · WARPS_N warps; STAGES stages of tiles in dynamic shared memory.
// Deterministic: each sum is one thread's, over K in order; statistics are reduced in a fixed order.
//
// Macros beside those of the headers: TILE_M, TILE_N, TILE_K, WARPS_M, WARPS_N, STAGES; X_TYPE, WEIGHT_TYPE,
// COMPUTE_TYPE; X_PACK, WEIGHT_PACK, AFFINE_PACK; X_ASYNC, WEIGHT_ASYNC: whether an operand comes by asynchronous
// copies; GROUP_CHANNELS: input channels of a group; POINTWISE: 1×1 at stride 1 without padding.
#include "common/types.cuh"

#if TENSOR_CORES
#include "common/conv_forward_mma.cuh"
#else
#include "common/conv_forward_fma.cuh"
#endif
#include "common/conv_epilogue.cuh"
#include "common/conv_forward_statistics.cuh"

#if (X_ASYNC || WEIGHT_ASYNC) && !HAS_COPY_ASYNC
#error "this architecture has no asynchronous copies"
#endif

extern "C" __global__ void __launch_bounds__(threads, MIN_BLOCKS)
conv_forward(const X_TYPE* x, const WEIGHT_TYPE* weight, const float* bias, const float* prologue,
             const RESIDUAL_TYPE* residual, Y_TYPE* y, float* statistics, int x_stride, int y_stride,
             int residual_stride, int residual_channels, int h, int w, int out_h, int out_w, int pixels,
             int group_out) {
    SHARED_DYNAMIC(shared);
    COMPUTE_TYPE* stages = reinterpret_cast<COMPUTE_TYPE*>(shared);

    const int channel_tiles = (group_out + TILE_N - 1) / TILE_N;
    const int pixel_tile = blockIdx.x / channel_tiles;
    const int first_pixel = pixel_tile * TILE_M;
    const int group = blockIdx.z;
    // Output channels are counted over all groups.
    const int first_channel = group * group_out + (blockIdx.x - pixel_tile * channel_tiles) * TILE_N;
    const int channel_end = (group + 1) * group_out;

    Fragment sums;
    sums.begin();
    InputLoader input;
    input.x = x;
    input.prologue = prologue;
    input.first_channel = group * GROUP_CHANNELS;
    input.c_in = gridDim.z * GROUP_CHANNELS;
    input.stride = x_stride;
    input.h = h;
    input.w = w;
    input.begin(first_pixel, pixels, out_h, out_w);
    WeightLoader weights;
    weights.weight = weight;
    weights.begin(first_channel, channel_end, Fragment::channel_of_row);

    // Stage s holds K tile s, s + STAGES, …; STAGES − 1 tiles are under way while one is multiplied.
    auto input_tile = [&](int stage) { return stages + stage * stage_elements; };
    auto weight_tile = [&](int stage) { return stages + stage * stage_elements + TILE_M * TILE_K; };
#pragma unroll
    for (int k = 0; k < STAGES - 1; k++) {
        if (k < k_tiles) {
            input.fetch(k, input_tile(k));
            weights.fetch(k, weight_tile(k));
            input.settle(k, input_tile(k));
            weights.settle(weight_tile(k));
        }
#if X_ASYNC || WEIGHT_ASYNC
        copy_async_commit();
#endif
    }
    int stage = 0, next_stage = STAGES - 1;
#pragma unroll 1
    for (int k = 0; k < k_tiles; k++) {
#if X_ASYNC || WEIGHT_ASYNC
        copy_async_wait<STAGES - 2>();
#endif
        __syncthreads();
        // The stage that is filled now was multiplied before that barrier.
        const int next = k + STAGES - 1;
        if (next < k_tiles) {
            input.fetch(next, input_tile(next_stage));
            if (!InputLoader::is_held) input.settle(next, input_tile(next_stage));
            weights.fetch(next, weight_tile(next_stage));
            if (!WeightLoader::is_held) weights.settle(weight_tile(next_stage));
        }
#if X_ASYNC || WEIGHT_ASYNC
        copy_async_commit();
#endif
        sums.multiply(input_tile(stage), weight_tile(stage));
        if (next < k_tiles) {
            if (InputLoader::is_held) input.settle(next, input_tile(next_stage));
            if (WeightLoader::is_held) weights.settle(weight_tile(next_stage));
        }
        stage = stage + 1 == STAGES ? 0 : stage + 1;
        next_stage = next_stage + 1 == STAGES ? 0 : next_stage + 1;
    }

#if HAS_BIAS
#pragma unroll
    for (int q = 0; q < Fragment::runs; q++) {
        float add[Fragment::run];
        load_bias(add, bias, first_channel + sums.column_of(q), channel_end);
#pragma unroll
        for (int r = 0; r < Fragment::rows; r++)
#pragma unroll
            for (int e = 0; e < Fragment::run; e++) sums.at(r, q, e) += add[e];
    }
#endif
#if HAS_STATISTICS
    tile_statistics(sums, reinterpret_cast<float*>(shared), statistics, pixel_tile, first_pixel, pixels, first_channel,
                    channel_end);
#endif
    const Output out = {y, y_stride, residual, residual_stride, residual_channels};
#pragma unroll
    for (int r = 0; r < Fragment::rows; r++) {
        int pixel = first_pixel + sums.row_of(r);
        if (pixel >= pixels) continue;
#pragma unroll
        for (int q = 0; q < Fragment::runs; q++) {
            int channel = first_channel + sums.column_of(q);
            if (channel >= channel_end) continue;
            float run[Fragment::run];
#pragma unroll
            for (int e = 0; e < Fragment::run; e++) run[e] = sums.at(r, q, e);
            write_run(out, pixel, channel, channel_end, run);
        }
    }
}
