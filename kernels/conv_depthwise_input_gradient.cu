// The gradient of a depth-wise convolution's input (one input and one output channel a group): dx = convᵀ(dy, w),
// or dx = into + convᵀ(dy, w), in place where into is dx.
//
// No matrix product: a thread sums the taps that reach a pixel of the block's phase (common/conv_phase.cuh), for
// PACK channels. The weight of the block's channels lies in shared memory, [tap][channel].
//
// FLOPs: 2 · taps · dy. Bytes, at least: dy, w, and into (where there is one) read once, dx written once;
// neighbouring pixels read a dy again from L1.
//
// Launch: grid (⌈largest phase's pixels / (PIXELS · 256 / LANES)⌉, ⌈channels / (LANES · PACK)⌉, phases), 256
// threads; blocks beyond a smaller phase's pixels return.
// Deterministic: every sum has one order.
#include "common/conv_index.cuh"
#include "common/conv_phase.cuh"
#include "common/types.cuh"

constexpr int THREADS = 256;
constexpr int ROWS = THREADS / LANES;
constexpr int BLOCK_CHANNELS = LANES * PACK;
constexpr int PITCH = BLOCK_CHANNELS + PACK;  // so that a channel's taps, which come together, go to many banks

extern "C" __global__ void __launch_bounds__(THREADS, 1) conv_depthwise_input_gradient(
    const DY_TYPE* dy, const W_TYPE* w, const INTO_TYPE* into, DX_TYPE* dx, int dy_stride, int into_stride,
    int dx_stride, int images, int height, int width, int out_height, int out_width) {
    SHARED_ARRAY(float, weight, kernel_taps * PITCH);
    int phase_y = static_cast<int>(blockIdx.z) / STRIDE_W, phase_x = static_cast<int>(blockIdx.z) % STRIDE_W;
    using AxisY = PhaseAxis<KERNEL_H, STRIDE_H, PADDING_TOP, DILATION_H>;
    using AxisX = PhaseAxis<KERNEL_W, STRIDE_W, PADDING_LEFT, DILATION_W>;
    AxisY axis_y(phase_y, height);
    AxisX axis_x(phase_x, width);
    int pixels = images * axis_y.length * axis_x.length;
    int first = static_cast<int>(blockIdx.x) * (ROWS * PIXELS);
    if (first >= pixels) return;

    int thread = static_cast<int>(threadIdx.x), first_channel = static_cast<int>(blockIdx.y) * BLOCK_CHANNELS;
    int end = min(CHANNELS - first_channel, BLOCK_CHANNELS) * kernel_taps;
    for (int i = thread; i < end; i += THREADS) {
        weight[i % kernel_taps * PITCH + i / kernel_taps] = to_float(w[first_channel * kernel_taps + i]);
    }
    __syncthreads();

    int own = thread % LANES * PACK, channel = first_channel + own;
    if (channel >= CHANNELS) return;
#pragma unroll 1
    for (int pass = 0; pass < PIXELS; pass++) {
        int row = first + pass * ROWS + thread / LANES;
        if (row >= pixels) return;
        Position at = position_of(row, axis_y.length, axis_x.length);
        Position in{at.image, at.y * STRIDE_H + phase_y, at.x * STRIDE_W + phase_x};
        int pixel = pixel_of(in, height, width);
        float sum[PACK];
        if constexpr (ACCUMULATE) {
            load_pack(sum, into + element(pixel, into_stride) + channel);
        } else {
#pragma unroll
            for (int i = 0; i < PACK; i++) sum[i] = 0.0f;
        }
#pragma unroll
        for (int i = 0; i < AxisY::MOST_TAPS; i++) {
            int y = at.y + axis_y.offset - i * AxisY::SHIFT;
#pragma unroll
            for (int j = 0; j < AxisX::MOST_TAPS; j++) {
                int x = at.x + axis_x.offset - j * AxisX::SHIFT;
                if (i >= axis_y.taps || j >= axis_x.taps || !is_inside(y, x, out_height, out_width)) continue;
                int tap = (axis_y.first + i * AxisY::STEP) * KERNEL_W + axis_x.first + j * AxisX::STEP;
                float gradient[PACK], factor[PACK];
                load_pack(gradient,
                          dy + element(pixel_of({at.image, y, x}, out_height, out_width), dy_stride) + channel);
                load_pack(factor, weight + tap * PITCH + own);
#pragma unroll
                for (int c = 0; c < PACK; c++) sum[c] += gradient[c] * factor[c];
            }
        }
        store_pack(dx + element(pixel, dx_stride) + channel, sum);
    }
}
