// The gradient of a depth-wise convolution's weight (one input and one output channel a group), with the pending
// scale, shift and activation of x applied as x is read:
//
//     dw[c, ky, kx] = Σ prologue(x)[pixel, c] · dy[output that reads the pixel by this tap, c]
//
// No matrix product: a thread goes over input pixels, reads x for PACK channels once, behind its prologue, and
// multiplies it by dy at every output that reads it; its sums, one a tap and channel, stay in registers. A tree
// adds the threads' sums. A block sums `block_pixels` input pixels and writes a row [c][ky][kx] of partial sums,
// which `column_sum` adds in a fixed order; with one block over the pixels it is dw itself.
//
// FLOPs: 2 · taps · dy. Bytes, at least: x and dy once (dy again from L1 and L2 for each tap), dw once, and
// 8 · blocks over the pixels · dw for the partial sums. Where TAP_ROWS < KERNEL_H (large kernels, so that the
// sums fit the registers) x and dy are read once for each of grid z.
//
// Launch: grid (⌈channels / (LANES · PACK)⌉, ⌈pixels / block_pixels⌉, KERNEL_H / TAP_ROWS), 256 threads.
// Deterministic: every sum has one order.
#include "common/activation.cuh"
#include "common/conv_index.cuh"
#include "common/counter.cuh"
#include "common/types.cuh"

constexpr int THREADS = 256;
constexpr int ROWS = THREADS / LANES;

extern "C" __global__ void __launch_bounds__(THREADS, 1) conv_depthwise_weight_gradient(
    const X_TYPE* x, const DY_TYPE* dy, const float* affine, float* dw, int x_stride, int dy_stride, int height,
    int width, int out_height, int out_width, int pixels, int block_pixels) {
    SHARED_ARRAY(float, part, PACK * THREADS);  // [PACK][ROWS][LANES]
    int thread = static_cast<int>(threadIdx.x), lane = thread % LANES;
    int first_channel = static_cast<int>(blockIdx.x) * LANES * PACK, channel = first_channel + lane * PACK;
    int first_tap_row = static_cast<int>(blockIdx.z) * TAP_ROWS;
    int first = static_cast<int>(blockIdx.y) * block_pixels;
    int end = channel < CHANNELS ? min(first + block_pixels, pixels) : 0;

#if PROLOGUE
    float scale[PACK], shift[PACK];
#pragma unroll
    for (int i = 0; i < PACK; i++) {
        scale[i] = channel < CHANNELS ? affine[channel + i] : 0.0f;
        shift[i] = channel < CHANNELS ? affine[CHANNELS + channel + i] : 0.0f;
    }
#endif
    float sum[TAP_ROWS][KERNEL_W][PACK] = {};
    Counter step = count_from(ROWS, height, width);
    Counter at = count_from(first + thread / LANES, height, width);
#pragma unroll 1
    for (int pixel = first + thread / LANES; pixel < end; pixel += ROWS) {
        float value[PACK];
        load_pack(value, x + element(pixel, x_stride) + channel);
#if PROLOGUE
#pragma unroll
        for (int i = 0; i < PACK; i++) value[i] = activate<ACTIVATION>(value[i] * scale[i] + shift[i]);
#endif
#pragma unroll
        for (int i = 0; i < TAP_ROWS; i++) {
            int y = at.middle + PADDING_TOP - (first_tap_row + i) * DILATION_H;
#pragma unroll
            for (int j = 0; j < KERNEL_W; j++) {
                int x_times_stride = at.low + PADDING_LEFT - j * DILATION_W;
                if (y % STRIDE_H != 0 || x_times_stride % STRIDE_W != 0) continue;
                Position out{at.high, y / STRIDE_H, x_times_stride / STRIDE_W};
                if (!is_inside(out.y, out.x, out_height, out_width)) continue;
                float gradient[PACK];
                load_pack(gradient, dy + element(pixel_of(out, out_height, out_width), dy_stride) + channel);
#pragma unroll
                for (int c = 0; c < PACK; c++) sum[i][j][c] += value[c] * gradient[c];
            }
        }
        advance(at, step, height, width);
    }

    float* to = dw + static_cast<long long>(blockIdx.y) * (CHANNELS * kernel_taps);
#pragma unroll
    for (int i = 0; i < TAP_ROWS; i++) {
#pragma unroll
        for (int j = 0; j < KERNEL_W; j++) {
            __syncthreads();
#pragma unroll
            for (int c = 0; c < PACK; c++) part[c * THREADS + thread] = sum[i][j][c];
#pragma unroll 1
            for (int half = THREADS / 2; half >= LANES; half /= 2) {
                __syncthreads();
                if (thread < half) {
#pragma unroll
                    for (int c = 0; c < PACK; c++) part[c * THREADS + thread] += part[c * THREADS + thread + half];
                }
            }
            if (thread < LANES && channel < CHANNELS) {
                int tap = (first_tap_row + i) * KERNEL_W + j;
#pragma unroll
                for (int c = 0; c < PACK; c++) to[(channel + c) * kernel_taps + tap] = part[c * THREADS + thread];
            }
        }
    }
}
