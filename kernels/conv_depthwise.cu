// The forward convolution with one input channel a group: y[c] = act(Σ prologue(x)[c / MULTIPLIER]·w[c] + bias[c])
// + residual, with its batch statistics. No two output channels share a product, so it is no matrix product: each
// thread sums VECTOR neighbouring channels at STRIP neighbouring outputs of a row, and reads, and puts through the
// prologue, each input of a row of the kernel once for all of them.
//
// Fuses what kernels/conv_forward.cu fuses. Bytes (floor): x, w and the residual once, y once.
// FLOPs: 2 · pixels · c_out · taps, f32.
// Launch: CHANNEL_LANES · PIXEL_LANES threads; a block has PIXEL_LANES strips of CHANNEL_LANES · VECTOR channels;
// x = blocks of strips · blocks of channels, the channels running fastest.
// Deterministic: each sum is one thread's; statistics are reduced in a fixed order.
//
// Macros beside those of the headers: X_TYPE, X_PACK, WEIGHT_TYPE, MULTIPLIER, VECTOR, STRIP, CHANNEL_LANES,
// PIXEL_LANES, HAS_PROLOGUE, PROLOGUE_ACTIVATION, AFFINE_PACK.
#include "common/conv_epilogue.cuh"
#include "common/conv_index.cuh"

constexpr int threads = CHANNEL_LANES * PIXEL_LANES;
constexpr int block_channels = CHANNEL_LANES * VECTOR;
// A row of taps in shared memory: padded so that what is written in the weight's order spreads over the banks.
constexpr int weight_row = block_channels + 4;
// Of a thread's taps, neighbours that one instruction reads; lanes read neighbouring ones.
constexpr int quad = smaller(VECTOR, 4);
constexpr int span = (STRIP - 1) * STRIDE_W + (KERNEL_W - 1) * DILATION_W + 1;

// The tap along x by which output p of a strip reads input column j of its span, or −1.
constexpr int tap_between(int p, int j) {
    int away = j - p * STRIDE_W;
    return away >= 0 && away % DILATION_W == 0 && away / DILATION_W < KERNEL_W ? away / DILATION_W : -1;
}
constexpr bool is_read(int j) {
    for (int p = 0; p < STRIP; p++) {
        if (tap_between(p, j) >= 0) return true;
    }
    return false;
}

// VECTOR floats from address `from`, `pack` at a time.
template <int pack, class T>
DEVICE void load_run(float (&into)[VECTOR], const T* from) {
    constexpr int step = smaller(pack, VECTOR);
#pragma unroll
    for (int i = 0; i < VECTOR; i += step) {
        float part[step];
        load_pack(part, from + i);
#pragma unroll
        for (int j = 0; j < step; j++) into[i + j] = part[j];
    }
}

// The inputs of VECTOR output channels from `channel` on, of one pixel or one vector.
template <int pack, class T>
DEVICE void load_inputs(float (&into)[VECTOR], const T* from, int channel) {
    if (MULTIPLIER == 1) {
        load_run<pack>(into, from + channel);
    } else {
#pragma unroll
        for (int e = 0; e < VECTOR; e++) into[e] = to_float(from[(channel + e) / MULTIPLIER]);
    }
}

extern "C" __global__ void __launch_bounds__(threads, 1)
conv_depthwise(const X_TYPE* x, const WEIGHT_TYPE* weight, const float* bias, const float* prologue,
               const RESIDUAL_TYPE* residual, Y_TYPE* y, float* statistics, int x_stride, int y_stride,
               int residual_stride, int residual_channels, int images, int h, int w, int out_h, int out_w, int c_out) {
    SHARED_ARRAY(float, weights, kernel_taps * weight_row);
    const int channel_blocks = (c_out + block_channels - 1) / block_channels;
    const int strip_block = blockIdx.x / channel_blocks;
    const int first_channel = (blockIdx.x - strip_block * channel_blocks) * block_channels;

    const int present = min(block_channels, c_out - first_channel) * kernel_taps;
    for (int i = threadIdx.x; i < present; i += threads) {
        int channel = i / kernel_taps, tap = i - channel * kernel_taps;
        int lane = channel / VECTOR, e = channel % VECTOR;
        int place = (e / quad * CHANNEL_LANES + lane) * quad + e % quad;
        weights[tap * weight_row + place] = to_float(weight[first_channel * kernel_taps + i]);
    }
    __syncthreads();

    const int lane = threadIdx.x % CHANNEL_LANES, pixel_lane = threadIdx.x / CHANNEL_LANES;
    const int channel = first_channel + lane * VECTOR;
    const int strips = (out_w + STRIP - 1) / STRIP;  // of a row
    const Position strip = position_of(strip_block * PIXEL_LANES + pixel_lane, out_h, strips);
    const bool exists = channel < c_out && strip.image < images;
    const int first_x = strip.x * STRIP;

    float sum[STRIP][VECTOR];
#pragma unroll
    for (int p = 0; p < STRIP; p++)
#pragma unroll
        for (int e = 0; e < VECTOR; e++) sum[p][e] = 0.0f;

    if (exists) {
        const Position window = window_of({strip.image, strip.y, first_x});
#if HAS_PROLOGUE
        float scale[VECTOR], shift[VECTOR];
        load_inputs<AFFINE_PACK>(scale, prologue, channel);
        load_inputs<AFFINE_PACK>(shift, prologue + c_out / MULTIPLIER, channel);
#endif
#pragma unroll 1
        for (int ky = 0; ky < KERNEL_H; ky++) {
            const int row = window.y + ky * DILATION_H;
            if (static_cast<unsigned>(row) >= static_cast<unsigned>(h)) continue;
            const int first = pixel_of({strip.image, row, window.x}, h, w);
#pragma unroll
            for (int j = 0; j < span; j++) {
                if (!is_read(j) || static_cast<unsigned>(window.x + j) >= static_cast<unsigned>(w)) continue;
                float value[VECTOR];
                load_inputs<X_PACK>(value, x + element(first + j, x_stride), channel);
#if HAS_PROLOGUE
#pragma unroll
                for (int e = 0; e < VECTOR; e++) {
                    value[e] = activate<PROLOGUE_ACTIVATION>(value[e] * scale[e] + shift[e]);
                }
#endif
#pragma unroll
                for (int p = 0; p < STRIP; p++) {
                    const int kx = tap_between(p, j);
                    if (kx < 0) continue;
                    const float* row = weights + (ky * KERNEL_W + kx) * weight_row + lane * quad;
#pragma unroll
                    for (int q = 0; q < VECTOR / quad; q++) {
                        float tap[quad];
                        load_pack(tap, row + q * CHANNEL_LANES * quad);
#pragma unroll
                        for (int e = 0; e < quad; e++) sum[p][q * quad + e] += value[q * quad + e] * tap[e];
                    }
                }
            }
        }
#if HAS_BIAS
        float add[VECTOR];
        load_bias(add, bias, channel, c_out);
#pragma unroll
        for (int p = 0; p < STRIP; p++)
#pragma unroll
            for (int e = 0; e < VECTOR; e++) sum[p][e] += add[e];
#endif
    }
    const int outputs = exists ? min(STRIP, out_w - first_x) : 0;

#if HAS_STATISTICS
    // Of each channel's sums over the block's strips: the mean, then the sum of squared deviations from it.
    // Channels lie in the order (channel of a thread, lane), so that lanes write neighbours.
    SHARED_ARRAY(float, partial, PIXEL_LANES * block_channels);
    SHARED_ARRAY(float, totals, block_channels);
    const int first_strip = strip_block * PIXEL_LANES;
    int count = 0;
    for (int i = 0; i < PIXEL_LANES; i++) {
        Position at = position_of(first_strip + i, out_h, strips);
        if (at.image < images) count += min(STRIP, out_w - at.x * STRIP);
    }
    const int tiles = gridDim.x / channel_blocks;
#pragma unroll
    for (int pass = 0; pass < 2; pass++) {
#pragma unroll
        for (int e = 0; e < VECTOR; e++) {
            float mean = pass == 0 ? 0.0f : totals[e * CHANNEL_LANES + lane];
            float total = 0.0f;
#pragma unroll
            for (int p = 0; p < STRIP; p++) {
                float value = sum[p][e] - mean;
                if (p < outputs) total += pass == 0 ? value : value * value;
            }
            partial[pixel_lane * block_channels + e * CHANNEL_LANES + lane] = total;
        }
        __syncthreads();
        for (int column = threadIdx.x; column < block_channels; column += threads) {
            float total = 0.0f;
            for (int i = 0; i < PIXEL_LANES; i++) total += partial[i * block_channels + column];
            totals[column] = pass == 0 ? total / static_cast<float>(count) : total;
        }
        __syncthreads();
        for (int i = threadIdx.x; i < min(block_channels, c_out - first_channel); i += threads) {
            float total = totals[i % VECTOR * CHANNEL_LANES + i / VECTOR];
            statistics[(2 * strip_block + pass) * c_out + first_channel + i] = total;
        }
    }
    if (threadIdx.x == 0 && first_channel == 0) {
        statistics[2 * tiles * c_out + strip_block] = static_cast<float>(count);
    }
#endif
    const Output out = {y, y_stride, residual, residual_stride, residual_channels};
    const int first_output = pixel_of({strip.image, strip.y, first_x}, out_h, out_w);
#pragma unroll
    for (int p = 0; p < STRIP; p++) {
        if (p < outputs) write_run(out, first_output + p, channel, c_out, sum[p]);
    }
}
