// The gradient of a convolution's weight, with the pending scale, shift and activation of x applied as x is read:
//
//     dw[co, ky, kx, ci] = Σ prologue(x)[pixel + tap, ci] · dy[pixel, co]      over all output pixels.
//
// One matrix product a group: m = output channels, n = taps × input channels, k = output pixels. Both operands
// are read as they lie in memory, a pixel's channels in a row ("k rows"). Nothing is unfolded in memory: a
// column of the product is a tap and an input channel, a row of its tile an output pixel, and where the tap
// falls into the padding the tile has zeros.
//
// Work is split over pixels so that the device is full: block z sums the pixels of one split and writes partial
// sums [split][co][ky][kx][ci] in f32, which `column_sum` adds in a fixed order. With one split, dw itself.
//
// FLOPs: 2 · dw · output pixels. Bytes, at least: x and dy once, dw once, and 8 · splits · dw for the partial
// sums. A block reads dy (TILE_M of it) and x (TILE_N of it, shifted by the taps) for its pixels, so x comes
// from L2 about taps · c_in / TILE_N times a tile of output channels.
//
// Launch: grid (tiles of n, tiles of m, splits × groups), one block of the product's threads, STAGES tiles of A
// and B in dynamic shared memory.
// Deterministic: the split depends on shapes and device only, every sum has one order.
#include "common/activation.cuh"
#include "common/conv_index.cuh"
#include "common/counter.cuh"
#include "common/tile_load.cuh"
#include "common/tile_product.cuh"

// A tap's columns, in whole chunks.
constexpr int PADDED_IN = (GROUP_IN + CHUNK_X - 1) / CHUNK_X * CHUNK_X;

using Product = TileProduct<COMPUTE_TYPE, TILE_M, TILE_N, TILE_K, PARTS_M, PARTS_N, true, true>;
constexpr int THREADS = Product::THREADS;

extern "C" __global__ void __launch_bounds__(THREADS, 1) conv_weight_gradient(
    const X_TYPE* x, const DY_TYPE* dy, const float* affine, float* dw, int x_stride, int dy_stride, int height,
    int width, int out_height, int out_width, int out_pixels, int split_pixels) {
    SHARED_DYNAMIC(shared);
    COMPUTE_TYPE* tiles = reinterpret_cast<COMPUTE_TYPE*>(shared);
    constexpr int STAGE = Product::A_ELEMENTS + Product::B_ELEMENTS;

    int group = static_cast<int>(blockIdx.z) % GROUPS, split = static_cast<int>(blockIdx.z) / GROUPS;
    int first_row = static_cast<int>(blockIdx.y) * TILE_M, first_column = static_cast<int>(blockIdx.x) * TILE_N;
    int first_pixel = split * split_pixels;
    int end_pixel = min(first_pixel + split_pixels, out_pixels);

    // A: dy's pixels, TILE_M output channels.
    using ThreadA = TileThread<TILE_K, TILE_M, CHUNK_DY, THREADS>;
    ThreadA thread_a;
    Chunk<DY_TYPE, COMPUTE_TYPE, CHUNK_DY, PACK_DY, false> chunk_a[ThreadA::PASSES];
    int co = first_row + thread_a.column;
    int elements_a = max(min(GROUP_OUT - co, CHUNK_DY), 0);
    const DY_TYPE* from_a = dy + group * GROUP_OUT + co;

    // B: x behind its prologue at one tap of each pixel, TILE_N of taps × input channels.
    using ThreadB = TileThread<TILE_K, TILE_N, CHUNK_X, THREADS>;
    ThreadB thread_b;
    Chunk<X_TYPE, COMPUTE_TYPE, CHUNK_X, PACK_X, PROLOGUE> chunk_b[ThreadB::PASSES];
    int tap = (first_column + thread_b.column) / PADDED_IN, ci = (first_column + thread_b.column) % PADDED_IN;
    int elements_b = tap < kernel_taps ? max(min(GROUP_IN - ci, CHUNK_X), 0) : 0;
    int tap_y = tap / KERNEL_W * DILATION_H - PADDING_TOP, tap_x = tap % KERNEL_W * DILATION_W - PADDING_LEFT;
    const X_TYPE* from_b = x + group * GROUP_IN + ci;
#if PROLOGUE
    float scale[CHUNK_X], shift[CHUNK_X];
#pragma unroll
    for (int i = 0; i < CHUNK_X; i++) {
        bool present = i < elements_b;
        scale[i] = present ? affine[group * GROUP_IN + ci + i] : 0.0f;
        shift[i] = present ? affine[GROUPS * GROUP_IN + group * GROUP_IN + ci + i] : 0.0f;
    }
    auto prologue = [&](float value, int i) { return activate<ACTIVATION>(value * scale[i] + shift[i]); };
#else
    auto prologue = [](float value, int) { return value; };
#endif
    auto as_it_is = [](float value, int) { return value; };

    // Output pixels as (image, row, column), for the rows of B.
    Counter step_pixels = count_from(TILE_K, out_height, out_width);
    Counter pixel[ThreadB::PASSES];
#pragma unroll
    for (int i = 0; i < ThreadB::PASSES; i++) {
        pixel[i] = count_from(first_pixel + thread_b.row + i * ThreadB::ROWS, out_height, out_width);
    }

    int loaded = first_pixel;  // the next step's first pixel
    auto begin = [&](int stage) {
        COMPUTE_TYPE* a = tiles + stage * STAGE;
        COMPUTE_TYPE* b = a + Product::A_ELEMENTS;
        if (thread_a.active()) {
#pragma unroll
            for (int i = 0; i < ThreadA::PASSES; i++) {
                int row = thread_a.row + i * ThreadA::ROWS;
                bool present = elements_a > 0 && loaded + row < end_pixel;
                const DY_TYPE* from = present ? from_a + element(loaded + row, dy_stride) : dy;
                chunk_a[i].begin(a + row * Product::A_PITCH + thread_a.column, from, present ? elements_a : 0);
            }
        }
        if (thread_b.active()) {
#pragma unroll
            for (int i = 0; i < ThreadB::PASSES; i++) {
                int row = thread_b.row + i * ThreadB::ROWS;
                Position at{pixel[i].high, pixel[i].middle * STRIDE_H + tap_y, pixel[i].low * STRIDE_W + tap_x};
                bool present =
                    elements_b > 0 && loaded + row < end_pixel && is_inside(at.y, at.x, height, width);
                const X_TYPE* from = present ? from_b + element(pixel_of(at, height, width), x_stride) : x;
                chunk_b[i].begin(b + row * Product::B_PITCH + thread_b.column, from, present ? elements_b : 0);
                advance(pixel[i], step_pixels, out_height, out_width);
            }
        }
        loaded += TILE_K;
    };
    auto finish = [&](int stage) {
        COMPUTE_TYPE* a = tiles + stage * STAGE;
        COMPUTE_TYPE* b = a + Product::A_ELEMENTS;
        finish_chunks<Product::A_PITCH>(thread_a, chunk_a, a, as_it_is);
        finish_chunks<Product::B_PITCH>(thread_b, chunk_b, b, prologue);
    };

    Product sum;
    auto product = [&](int stage) { sum.add(tiles + stage * STAGE, tiles + stage * STAGE + Product::A_ELEMENTS); };
    int steps = (end_pixel - first_pixel + TILE_K - 1) / TILE_K;
    run_pipeline<STAGES>(steps, begin, finish, product);

    __syncthreads();
    float* to = dw + static_cast<long long>(split) * (GROUPS * GROUP_OUT * kernel_taps * GROUP_IN);
    sum.visit(reinterpret_cast<float*>(shared), [&](int row, int column, float (&values)[4]) {
        int out = first_row + row, of_tap = (first_column + column) / PADDED_IN;
        int in = (first_column + column) % PADDED_IN;
        if (out >= GROUP_OUT || of_tap >= kernel_taps) return;
        float* at = to + ((group * GROUP_OUT + out) * kernel_taps + of_tap) * GROUP_IN + in;
#pragma unroll
        for (int piece = 0; piece < 4; piece += PACK_DW) {
            if (in + piece >= GROUP_IN) continue;
            float some[PACK_DW];
#pragma unroll
            for (int i = 0; i < PACK_DW; i++) some[i] = values[piece + i];
            store_pack(at + piece, some);
        }
    });
}
