// The gradient of a convolution's input, dx = convᵀ(dy, w), or dx = into + convᵀ(dy, w), in place where into is dx.
//
// One matrix product a group and phase (common/conv_phase.cuh): m = the phase's input pixels, n = input
// channels, k = the taps that reach the phase × output channels. A's rows are dy at one tap of a pixel, B's the
// weight at one tap and output channel, both as they lie in memory. Pixels that no tap reaches have k = 0 and
// get zero, or what was there.
//
// FLOPs: 2 · w · output pixels; taps that fall outside of the map are multiplied too (as zeros). Bytes, at least:
// dy, w, and into (where there is one) read once, dx written once. A block reads dy for its pixels once a tap
// (neighbouring taps from L1 and L2), and its channels of w once.
//
// Launch: grid (tiles of m of the largest phase, tiles of n, phases × groups), one block of the product's
// threads, STAGES tiles of A and B in dynamic shared memory; blocks beyond a smaller phase's pixels return.
// Deterministic: every sum has one order.
#include "common/conv_index.cuh"
#include "common/conv_phase.cuh"
#include "common/counter.cuh"
#include "common/tile_load.cuh"
#include "common/tile_product.cuh"

// A tap's output channels in k, in whole chunks.
constexpr int PADDED_OUT = (GROUP_OUT + CHUNK_DY - 1) / CHUNK_DY * CHUNK_DY;

using Product = TileProduct<COMPUTE_TYPE, TILE_M, TILE_N, TILE_K, PARTS_M, PARTS_N, false, true>;
constexpr int THREADS = Product::THREADS;

extern "C" __global__ void __launch_bounds__(THREADS, 1) conv_input_gradient(
    const DY_TYPE* dy, const W_TYPE* w, const INTO_TYPE* into, DX_TYPE* dx, int dy_stride, int into_stride,
    int dx_stride, int images, int height, int width, int out_height, int out_width) {
    SHARED_DYNAMIC(shared);
    SHARED_ARRAY(int, pixel_of_row, TILE_M);  // −1 beyond the phase
    COMPUTE_TYPE* tiles = reinterpret_cast<COMPUTE_TYPE*>(shared);
    constexpr int STAGE = Product::A_ELEMENTS + Product::B_ELEMENTS;

    int group = static_cast<int>(blockIdx.z) % GROUPS, phase = static_cast<int>(blockIdx.z) / GROUPS;
    int phase_y = phase / STRIDE_W, phase_x = phase % STRIDE_W;
    using AxisY = PhaseAxis<KERNEL_H, STRIDE_H, PADDING_TOP, DILATION_H>;
    using AxisX = PhaseAxis<KERNEL_W, STRIDE_W, PADDING_LEFT, DILATION_W>;
    AxisY axis_y(phase_y, height);
    AxisX axis_x(phase_x, width);
    int pixels = images * axis_y.length * axis_x.length;
    int first_row = static_cast<int>(blockIdx.x) * TILE_M, first_column = static_cast<int>(blockIdx.y) * TILE_N;
    if (first_row >= pixels) return;
    for (int row = static_cast<int>(threadIdx.x); row < TILE_M; row += THREADS) {
        Position at = position_of(first_row + row, axis_y.length, axis_x.length);
        Position in{at.image, at.y * STRIDE_H + phase_y, at.x * STRIDE_W + phase_x};
        pixel_of_row[row] = first_row + row < pixels ? pixel_of(in, height, width) : -1;
    }

    // k as (tap row, tap column, output channel), advanced by TILE_K.
    Counter step_k = count_from(TILE_K, max(axis_x.taps, 1), PADDED_OUT);

    // A: dy at one tap of each pixel.
    using ThreadA = TileThread<TILE_M, TILE_K, CHUNK_DY, THREADS>;
    ThreadA thread_a;
    Chunk<DY_TYPE, COMPUTE_TYPE, CHUNK_DY, PACK_DY, false> chunk_a[ThreadA::PASSES];
    Counter k_a = count_from(thread_a.column, max(axis_x.taps, 1), PADDED_OUT);
    const DY_TYPE* from_a = dy + group * GROUP_OUT;
    int image_row[ThreadA::PASSES], at_y[ThreadA::PASSES], at_x[ThreadA::PASSES];  // of dy, at the first tap
#pragma unroll
    for (int i = 0; i < ThreadA::PASSES; i++) {
        int row = first_row + thread_a.row + i * ThreadA::ROWS;
        Position at = position_of(row, axis_y.length, axis_x.length);
        image_row[i] = at.image * out_height;
        // Beyond the phase no tap is inside.
        at_y[i] = row < pixels ? at.y + axis_y.offset : -(1 << 30);
        at_x[i] = at.x + axis_x.offset;
    }

    // B: the weight at one tap and output channel, TILE_N of its input channels.
    using ThreadB = TileThread<TILE_K, TILE_N, CHUNK_W, THREADS>;
    ThreadB thread_b;
    Chunk<W_TYPE, COMPUTE_TYPE, CHUNK_W, PACK_W, false> chunk_b[ThreadB::PASSES];
    int ci = first_column + thread_b.column;
    int elements_b = max(min(GROUP_IN - ci, CHUNK_W), 0);
    const W_TYPE* from_b = w + static_cast<long long>(group) * (GROUP_OUT * kernel_taps * GROUP_IN) + ci;
    Counter k_b[ThreadB::PASSES];
#pragma unroll
    for (int i = 0; i < ThreadB::PASSES; i++) {
        k_b[i] = count_from(thread_b.row + i * ThreadB::ROWS, max(axis_x.taps, 1), PADDED_OUT);
    }

    auto begin = [&](int stage) {
        COMPUTE_TYPE* a = tiles + stage * STAGE;
        COMPUTE_TYPE* b = a + Product::A_ELEMENTS;
        if (thread_a.active()) {
            int elements = k_a.high < axis_y.taps ? max(min(GROUP_OUT - k_a.low, CHUNK_DY), 0) : 0;
            int back_y = k_a.high * AxisY::SHIFT, back_x = k_a.middle * AxisX::SHIFT;
#pragma unroll
            for (int i = 0; i < ThreadA::PASSES; i++) {
                int row = thread_a.row + i * ThreadA::ROWS, y = at_y[i] - back_y, x = at_x[i] - back_x;
                bool present = elements > 0 && is_inside(y, x, out_height, out_width);
                const DY_TYPE* from = dy;
                if (present) from = from_a + element((image_row[i] + y) * out_width + x, dy_stride) + k_a.low;
                chunk_a[i].begin(a + row * Product::A_PITCH + thread_a.column, from, present ? elements : 0);
            }
            advance(k_a, step_k, axis_x.taps, PADDED_OUT);
        }
        if (thread_b.active()) {
#pragma unroll
            for (int i = 0; i < ThreadB::PASSES; i++) {
                int row = thread_b.row + i * ThreadB::ROWS;
                bool present = elements_b > 0 && k_b[i].high < axis_y.taps && k_b[i].low < GROUP_OUT;
                int tap_y = axis_y.first + k_b[i].high * AxisY::STEP;
                int tap_x = axis_x.first + k_b[i].middle * AxisX::STEP;
                int tap = k_b[i].low * kernel_taps + tap_y * KERNEL_W + tap_x;
                const W_TYPE* from = present ? from_b + tap * GROUP_IN : w;
                chunk_b[i].begin(b + row * Product::B_PITCH + thread_b.column, from, present ? elements_b : 0);
                advance(k_b[i], step_k, axis_x.taps, PADDED_OUT);
            }
        }
    };
    auto as_it_is = [](float value, int) { return value; };
    auto finish = [&](int stage) {
        COMPUTE_TYPE* a = tiles + stage * STAGE;
        COMPUTE_TYPE* b = a + Product::A_ELEMENTS;
        finish_chunks<Product::A_PITCH>(thread_a, chunk_a, a, as_it_is);
        finish_chunks<Product::B_PITCH>(thread_b, chunk_b, b, as_it_is);
    };

    Product sum;
    auto product = [&](int stage) { sum.add(tiles + stage * STAGE, tiles + stage * STAGE + Product::A_ELEMENTS); };
    int steps = (axis_y.taps * axis_x.taps * PADDED_OUT + TILE_K - 1) / TILE_K;
    run_pipeline<STAGES>(steps, begin, finish, product);

    __syncthreads();
    sum.visit(reinterpret_cast<float*>(shared), [&](int row, int column, float (&values)[4]) {
        int pixel = pixel_of_row[row], in = first_column + column;
        if (pixel < 0) return;
        DX_TYPE* to = dx + element(pixel, dx_stride) + group * GROUP_IN + in;
        const INTO_TYPE* from = into + element(pixel, into_stride) + group * GROUP_IN + in;
#pragma unroll
        for (int piece = 0; piece < 4; piece += PACK_DX) {
            if (in + piece >= GROUP_IN) continue;
            float some[PACK_DX];
            if constexpr (ACCUMULATE) {
                load_pack(some, from + piece);
            } else {
#pragma unroll
                for (int i = 0; i < PACK_DX; i++) some[i] = 0.0f;
            }
#pragma unroll
            for (int i = 0; i < PACK_DX; i++) some[i] += values[piece + i];
            store_pack(to + piece, some);
        }
    });
}
