// The arithmetic ceilings of a device, for `gradpath bench`: loops in registers that read and write memory once.
//
// multiply_adds: `turns` times y = factor·y + term on every element. A thread has CHAINS elements, a grid apart, so
// that accesses are coalesced and CHAINS multiply-adds are under way. 2·turns FLOP an element.
//
// matrix_multiply_adds: y = turns · W·x, 16 channels to 64, by mma.sync m16n8k16 on MATH_TYPE with f32 sums. A warp
// has 16 pixels: one fragment of x, eight of W, eight accumulators, which do not wait for each other.
// 2·16·64·turns FLOP a pixel. plain_matrix_multiply_adds is the same without tensor cores, a thread an output.
//
// Bytes: x and W read once a pixel or warp, y written once; with thousands of turns that is nothing beside the loop.
// Each output is one thread's sum in a fixed order: deterministic.
#include "common/types.cuh"

#ifdef CHAINS
extern "C" __global__ void __launch_bounds__(256) multiply_adds(const X_TYPE* x, int x_stride, Y_TYPE* y, int y_stride,
                                                                int channels, int elements, int turns, float factor,
                                                                float term) {
    long long step = static_cast<long long>(gridDim.x) * blockDim.x;
    long long first = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    float chains[CHAINS];
#pragma unroll
    for (int i = 0; i < CHAINS; i++) {
        long long at = first + i * step;
        chains[i] = at < elements ? to_float(x[at / channels * x_stride + at % channels]) : 0.0f;
    }
    for (int turn = 0; turn < turns; turn++) {
#pragma unroll
        for (int i = 0; i < CHAINS; i++) chains[i] = chains[i] * factor + term;
    }
#pragma unroll
    for (int i = 0; i < CHAINS; i++) {
        long long at = first + i * step;
        if (at < elements) y[at / channels * y_stride + at % channels] = from_float<Y_TYPE>(chains[i]);
    }
}
#else

enum { ROWS_IN = 16, ROWS_OUT = 64 };

#ifdef MATH_TYPE
DEVICE void multiply_add(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, f16) {
    mma_m16n8k16_f16(d, a, b0, b1);
}
#if __CUDA_ARCH__ >= 800
DEVICE void multiply_add(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, bf16) {
    mma_m16n8k16_bf16(d, a, b0, b1);
}
#endif

// Two numbers in one register, the first one low.
DEVICE unsigned pair(float low, float high) {
    return from_float<MATH_TYPE>(low).bits | static_cast<unsigned>(from_float<MATH_TYPE>(high).bits) << 16;
}

// Channels `channel` and the next one of `pixel`; zeros behind the last pixel.
DEVICE unsigned channels_of(const X_TYPE* x, int stride, int pixel, int pixels, int channel) {
    if (pixel >= pixels) return 0;
    const X_TYPE* at = x + static_cast<long long>(pixel) * stride + channel;
    return pair(to_float(at[0]), to_float(at[1]));
}

extern "C" __global__ void __launch_bounds__(256)
    matrix_multiply_adds(const X_TYPE* x, int x_stride, const float* weight, Y_TYPE* y, int y_stride, int pixels,
                         int turns) {
    int lane = threadIdx.x % 32;
    int row = lane / 4, column = lane % 4 * 2;
    int pixel = (blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32) * 16 + row;
    if (pixel - row >= pixels) return;
    unsigned a[4] = {
        channels_of(x, x_stride, pixel, pixels, column),
        channels_of(x, x_stride, pixel + 8, pixels, column),
        channels_of(x, x_stride, pixel, pixels, column + 8),
        channels_of(x, x_stride, pixel + 8, pixels, column + 8),
    };
    unsigned b[ROWS_OUT / 8][2];
    float d[ROWS_OUT / 8][4] = {};
#pragma unroll
    for (int tile = 0; tile < ROWS_OUT / 8; tile++) {
        const float* at = weight + (tile * 8 + row) * ROWS_IN + column;
        b[tile][0] = pair(at[0], at[1]);
        b[tile][1] = pair(at[8], at[9]);
    }
    for (int turn = 0; turn < turns; turn++) {
#pragma unroll
        for (int tile = 0; tile < ROWS_OUT / 8; tile++) {
            multiply_add(d[tile], a, b[tile][0], b[tile][1], MATH_TYPE{});
        }
    }
#pragma unroll
    for (int tile = 0; tile < ROWS_OUT / 8; tile++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            if (pixel + half * 8 >= pixels) continue;
            Y_TYPE* at = y + static_cast<long long>(pixel + half * 8) * y_stride + tile * 8 + column;
            at[0] = from_float<Y_TYPE>(d[tile][half * 2]);
            at[1] = from_float<Y_TYPE>(d[tile][half * 2 + 1]);
        }
    }
}
#else
extern "C" __global__ void __launch_bounds__(256)
    plain_matrix_multiply_adds(const X_TYPE* x, int x_stride, const float* weight, Y_TYPE* y, int y_stride, int pixels,
                               int turns) {
    long long index = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    long long pixel = index / ROWS_OUT;
    int row = static_cast<int>(index % ROWS_OUT);
    if (pixel >= pixels) return;
    float values[ROWS_IN], weights[ROWS_IN];
#pragma unroll
    for (int i = 0; i < ROWS_IN; i++) {
        values[i] = to_float(x[pixel * x_stride + i]);
        weights[i] = weight[row * ROWS_IN + i];
    }
    float sum = 0.0f;
    for (int turn = 0; turn < turns; turn++) {
#pragma unroll
        for (int i = 0; i < ROWS_IN; i++) sum += values[i] * weights[i];
    }
    y[pixel * y_stride + row] = from_float<Y_TYPE>(sum);
}
#endif
#endif
