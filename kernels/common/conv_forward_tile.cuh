// The tiles of the forward convolution's implicit GEMM in shared memory, and how they get there.
//
// A stage holds TILE_M rows of pixels and TILE_N rows of output channels, each of TILE_K elements of
// COMPUTE_TYPE along K = (ky, kx, input channel). K is cut into chunks of 16 bytes. Chunks are swizzled: any 8
// rows' chunks at one column lie in different banks, and so do the chunks that 8 neighbouring threads write.
//
// A thread carries one chunk column of every `row_step`-th row: by an asynchronous copy where an operand is
// stored in the compute type, 16 bytes at a time, and nothing is pending on it; else through registers, in
// pieces of as many elements as one instruction reads, which are converted behind the prologue.
#pragma once
#include "common/activation.cuh"
#include "common/conv_index.cuh"
#include "common/types.cuh"

constexpr int threads = WARPS_M * WARPS_N * 32;
constexpr int depth = kernel_taps * GROUP_CHANNELS;
constexpr int k_tiles = (depth + TILE_K - 1) / TILE_K;

constexpr int chunk = 16 / sizeof(COMPUTE_TYPE);
constexpr int chunks = TILE_K / chunk;
constexpr int row_step = threads / chunks;
constexpr int rows_per_line = 8 / chunks;  // a line is 128 bytes: all banks
static_assert(chunks >= 1 && chunks <= 8 && 8 % chunks == 0, "a row of a tile is at most 128 bytes");

constexpr int stage_elements = (TILE_M + TILE_N) * TILE_K;

// The offset of a chunk in a tile, in elements.
DEVICE int swizzled(int row, int column) {
    return row * TILE_K + (column ^ (row / rows_per_line % chunks)) * chunk;
}

template <class To, class From>
struct Convert {
    DEVICE static To convert(From value) { return from_float<To>(to_float(value)); }
};
template <class T>
struct Convert<T, T> {
    DEVICE static T convert(T value) { return value; }
};

// The rows that this thread carries of a tile of `tile_rows`.
template <int tile_rows>
constexpr int carried_rows = (tile_rows + row_step - 1) / row_step;
template <int tile_rows>
DEVICE bool is_carried(int row) {
    return tile_rows % row_step == 0 || row < tile_rows;
}

// Whether an operand of type T that comes through registers is held there while the tile before it is multiplied:
// not where that takes more than 16 of them, nor in many small pieces, each of which takes one.
template <class T, bool is_async, int rows, int pieces>
constexpr bool holds = !is_async && pieces <= 2 && rows * chunk * sizeof(T) <= 64;

// ---- the input: pixels' windows ------------------------------------------------------------------

struct InputLoader {
    static constexpr int rows = carried_rows<TILE_M>;
    static constexpr int pack = X_PACK < chunk ? X_PACK : chunk;
    static constexpr int pieces = chunk / pack;
    static constexpr bool is_held = holds<X_TYPE, X_ASYNC, rows, pieces>;

    const X_TYPE* x;
    const float* prologue;                  // scale [c_in], shift [c_in]
    int first_channel, c_in, stride, h, w;  // the group's first; elements from one pixel to the next
    int column, first_row;
    // Of each row's window: the pixel at tap (0, 0), and its place; a row beyond the last pixel lies outside.
    int origin[rows], origin_y[rows], origin_x[rows];
    // What is on its way through registers: raw pieces, and which of them are inside.
    Pack<X_TYPE, pack> held[X_ASYNC ? 1 : rows][X_ASYNC ? 1 : pieces];
    unsigned inside[rows];

    DEVICE void begin(int first_pixel, int pixels, int out_h, int out_w) {
        column = threadIdx.x % chunks;
        first_row = threadIdx.x / chunks;
#pragma unroll
        for (int r = 0; r < rows; r++) {
            int pixel = first_pixel + first_row + r * row_step;
            bool exists = pixel < pixels && is_carried<TILE_M>(first_row + r * row_step);
            if (POINTWISE) {
                origin[r] = exists ? pixel : -1;
            } else {
                Position window = window_of(position_of(exists ? pixel : 0, out_h, out_w));
                origin[r] = pixel_of(window, h, w);
                origin_y[r] = exists ? window.y : -(1 << 30);
                origin_x[r] = window.x;
            }
        }
    }

    // Calls visit(row, piece, whether it is inside, its address), which means nothing where it is not.
    template <class Visit>
    DEVICE void each_piece(int k_tile, Visit visit) const {
#pragma unroll
        for (int p = 0; p < pieces; p++) {
            int k = k_tile * TILE_K + column * chunk + p * pack;
            Tap tap = tap_of<GROUP_CHANNELS>(k);
            int down = tap.y * DILATION_H, right = tap.x * DILATION_W;
            int shift = down * w + right;
#pragma unroll
            for (int r = 0; r < rows; r++) {
                bool valid = k < depth;
                if (POINTWISE) {
                    valid = valid && origin[r] >= 0;
                } else {
                    valid = valid && is_inside(origin_y[r] + down, origin_x[r] + right, h, w);
                }
                visit(r, p, valid, x + (element(origin[r] + shift, stride) + first_channel + tap.channel));
            }
        }
    }

    // Begins to bring K tile `k_tile` into `tile`.
    DEVICE void fetch(int k_tile, COMPUTE_TYPE* tile) {
#if X_ASYNC
        each_piece(k_tile, [&](int r, int, bool valid, const X_TYPE* from) {
            int row = first_row + r * row_step;
            if (is_carried<TILE_M>(row)) copy_async_16(tile + swizzled(row, column), from, valid);
        });
#else
#pragma unroll
        for (int r = 0; r < rows; r++) inside[r] = 0;
        each_piece(k_tile, [&](int r, int p, bool valid, const X_TYPE* from) {
            held[r][p] = Pack<X_TYPE, pack>{};
            if (valid) held[r][p] = *reinterpret_cast<const Pack<X_TYPE, pack>*>(from);
            inside[r] |= static_cast<unsigned>(valid) << p;
        });
#endif
    }

    // Writes what `fetch` has brought into registers.
    DEVICE void settle(int k_tile, COMPUTE_TYPE* tile) {
#if !X_ASYNC
#if HAS_PROLOGUE
        float scale[chunk], shift[chunk];
#pragma unroll
        for (int p = 0; p < pieces; p++) {
            int k = k_tile * TILE_K + column * chunk + p * pack;
            int channel = first_channel + (k < depth ? tap_of<GROUP_CHANNELS>(k).channel : 0);
#pragma unroll
            for (int i = 0; i < pack; i += AFFINE_PACK) {
                auto from = reinterpret_cast<const Pack<float, AFFINE_PACK>*>(prologue + channel + i);
                auto from_shift = reinterpret_cast<const Pack<float, AFFINE_PACK>*>(prologue + c_in + channel + i);
#pragma unroll
                for (int j = 0; j < AFFINE_PACK; j++) {
                    scale[p * pack + i + j] = from->at[j];
                    shift[p * pack + i + j] = from_shift->at[j];
                }
            }
        }
#endif
#pragma unroll
        for (int r = 0; r < rows; r++) {
            Pack<COMPUTE_TYPE, chunk> out;
#pragma unroll
            for (int i = 0; i < chunk; i++) {
                X_TYPE raw = held[r][i / pack].at[i % pack];
#if HAS_PROLOGUE
                float value = activate<PROLOGUE_ACTIVATION>(to_float(raw) * scale[i] + shift[i]);
                // Padding stays zero.
                out.at[i] = from_float<COMPUTE_TYPE>((inside[r] >> (i / pack) & 1u) != 0 ? value : 0.0f);
#else
                out.at[i] = Convert<COMPUTE_TYPE, X_TYPE>::convert(raw);
#endif
            }
            int row = first_row + r * row_step;
            if (is_carried<TILE_M>(row)) {
                *reinterpret_cast<Pack<COMPUTE_TYPE, chunk>*>(tile + swizzled(row, column)) = out;
            }
        }
#endif
    }
};

// ---- the weight: rows of output channels ---------------------------------------------------------

struct WeightLoader {
    static constexpr int rows = carried_rows<TILE_N>;
    static constexpr int pack = WEIGHT_PACK < chunk ? WEIGHT_PACK : chunk;
    static constexpr int pieces = chunk / pack;
    static constexpr bool is_held = holds<WEIGHT_TYPE, WEIGHT_ASYNC, rows, pieces>;

    const WEIGHT_TYPE* weight;
    int column, first_row;
    int offset[rows];  // of each row's first element; −1 beyond the group's last channel
    Pack<WEIGHT_TYPE, pack> held[WEIGHT_ASYNC ? 1 : rows][WEIGHT_ASYNC ? 1 : pieces];

    // Row r of the tile is the output channel `first_channel + channel_of_row(r)`, where that is below
    // `channel_end`: the order in which the fragments want them.
    template <class ChannelOfRow>
    DEVICE void begin(int first_channel, int channel_end, ChannelOfRow channel_of_row) {
        column = threadIdx.x % chunks;
        first_row = threadIdx.x / chunks;
#pragma unroll
        for (int r = 0; r < rows; r++) {
            int row = first_row + r * row_step;
            int channel = first_channel + channel_of_row(row);
            offset[r] = is_carried<TILE_N>(row) && channel < channel_end ? channel * depth : -1;
        }
    }

    DEVICE void fetch(int k_tile, COMPUTE_TYPE* tile) {
#pragma unroll
        for (int p = 0; p < pieces; p++) {
            int k = k_tile * TILE_K + column * chunk + p * pack;
#pragma unroll
            for (int r = 0; r < rows; r++) {
                bool valid = k < depth && offset[r] >= 0;
                const WEIGHT_TYPE* from = weight + (valid ? offset[r] + k : 0);
#if WEIGHT_ASYNC
                int row = first_row + r * row_step;
                if (is_carried<TILE_N>(row)) copy_async_16(tile + swizzled(row, column), from, valid);
#else
                held[r][p] = Pack<WEIGHT_TYPE, pack>{};
                if (valid) held[r][p] = *reinterpret_cast<const Pack<WEIGHT_TYPE, pack>*>(from);
#endif
            }
        }
    }

    DEVICE void settle(COMPUTE_TYPE* tile) {
#if !WEIGHT_ASYNC
#pragma unroll
        for (int r = 0; r < rows; r++) {
            Pack<COMPUTE_TYPE, chunk> out;
#pragma unroll
            for (int i = 0; i < chunk; i++) {
                out.at[i] = Convert<COMPUTE_TYPE, WEIGHT_TYPE>::convert(held[r][i / pack].at[i % pack]);
            }
            int row = first_row + r * row_step;
            if (is_carried<TILE_N>(row)) {
                *reinterpret_cast<Pack<COMPUTE_TYPE, chunk>*>(tile + swizzled(row, column)) = out;
            }
        }
#endif
    }
};
