// The main loop of two convolutions in a row: y = second(first(x)), both of stride 1, "same" padding and odd kernels.
//
// A block has one output tile of TILE_H × TILE_W pixels, with all channels of the second convolution. It computes
// the first convolution's map on the tile and its halo of SECOND_KERNEL / 2 pixels, rounds it to COMPUTE_TYPE as a
// map in memory would be, and keeps it in shared memory, zero outside of the image; then the second convolution
// reads it there. Both are implicit GEMMs, (pixels) × (output channels) over K = (tap, input channel). Weights, and
// x, pass through STAGES stages of K tiles; a K tile lies within one tap.
//
// Macros, beside those of the kernels: FIRST_KERNEL, SECOND_KERNEL; C_IN, C_MIDDLE, C_OUT; TILE_H, TILE_W;
// FIRST_M: pixels of the first GEMM at a time; FIRST_N, SECOND_N: C_MIDDLE and C_OUT in whole fragments; PARTS_N:
// warps along the channels; FIRST_K, SECOND_K: chunks of a K tile; STAGES; COMPUTE_TYPE; X_TYPE, X_PACK,
// FIRST_WEIGHT_TYPE, FIRST_WEIGHT_PACK, SECOND_WEIGHT_TYPE, SECOND_WEIGHT_PACK; FIRST_BIAS, SECOND_BIAS: whether
// there is one; FIRST_ACTIVATION, SECOND_ACTIVATION.
#pragma once
#include "common/activation.cuh"
#include "common/block_product.cuh"

constexpr int threads = 128 * PARTS_N;
constexpr int chunk = chunk_of<COMPUTE_TYPE>;

constexpr int halo = SECOND_KERNEL / 2;
constexpr int middle_w = TILE_W + 2 * halo, middle_h = TILE_H + 2 * halo;
constexpr int middle_pixels = middle_w * middle_h;
// Channels of the middle map that the second GEMM reads: whole K tiles.
constexpr int middle_channels = round_up(C_MIDDLE, SECOND_K * chunk);
constexpr int middle_chunks = stored_chunks(middle_channels / chunk);
constexpr int middle_bytes = middle_pixels * middle_chunks * 16;

// The rows of the second GEMM are the tile's pixels, row by row; 8 of them that begin at a multiple of 8 are
// neighbours, in the middle map too.
constexpr int second_m = TILE_H * TILE_W;
static_assert(TILE_W % 8 == 0, "8 rows of a fragment lie side by side");
static_assert(FIRST_N >= middle_channels, "the first GEMM writes all that the second reads");

using FirstSums = Sums<COMPUTE_TYPE, FIRST_M, FIRST_N, PARTS_N>;
using SecondSums = Sums<COMPUTE_TYPE, second_m, SECOND_N, PARTS_N>;

// Steps along K: K tiles in order, tap by tap.
template <int kernel, int channels, int k_chunks>
struct Steps {
    static constexpr int in_tap = (channels + k_chunks * chunk - 1) / (k_chunks * chunk);
    static constexpr int count = kernel * kernel * in_tap;

    int tap = 0, part = 0;

    DEVICE int first_channel() const { return part * k_chunks * chunk; }
    DEVICE int down() const { return tap / kernel; }
    DEVICE int right() const { return tap % kernel; }
    DEVICE void next() {
        part++;
        if (part == in_tap) {
            part = 0;
            tap++;
        }
    }
};

// Where the block's tile lies.
struct Tile {
    int image, y, x;  // of the tile's first pixel
    int h, w;         // of the map

    DEVICE Tile(int map_h, int map_w) : h(map_h), w(map_w) {
        int columns = (w + TILE_W - 1) / TILE_W, rows = (h + TILE_H - 1) / TILE_H;
        int index = static_cast<int>(blockIdx.x);
        x = index % columns * TILE_W;
        y = index / columns % rows * TILE_H;
        image = index / columns / rows;
    }

    DEVICE bool is_inside(int at_y, int at_x) const {
        return static_cast<unsigned>(at_y) < static_cast<unsigned>(h) &&
               static_cast<unsigned>(at_x) < static_cast<unsigned>(w);
    }
    // The pixel, counted over the batch; it must be inside.
    DEVICE long long pixel(int at_y, int at_x) const { return (static_cast<long long>(image) * h + at_y) * w + at_x; }
};

// The rows of output channels of one convolution's weight [c_out][kernel][kernel][c_in].
template <class Weight, int pack, int kernel, int channels, int n, int k_chunks, class SumsOfTile>
struct Weights {
    using Rows = TileRows<Weight, COMPUTE_TYPE, pack, n, k_chunks, threads, false>;
    Rows rows;
    const Weight* weight;
    const Weight* from[Rows::passes];

    DEVICE Weights(const Weight* all, int c_out) : weight(all) {
#pragma unroll
        for (int pass = 0; pass < Rows::passes; pass++) {
            int channel = SumsOfTile::channel_of_row(Rows::row_of(pass));
            bool exists = Rows::is_row(pass) && channel < c_out;
            from[pass] = exists ? weight + channel * (kernel * kernel * channels) : nullptr;
        }
    }

    template <class Step>
    DEVICE void fetch(COMPUTE_TYPE* tile, const Step& step) {
        rows.fetch(tile, step.first_channel(), channels, weight, [&](int pass) {
            return from[pass] == nullptr ? nullptr : from[pass] + step.tap * channels;
        });
    }
};

// Computes the middle map into shared memory. Calls keep(y, x, channel, values) for every run of it that lies in the
// tile and in the image, for whoever writes it out too.
template <class Keep>
DEVICE void first_conv(const Tile& tile, COMPUTE_TYPE* middle, COMPUTE_TYPE* stages, const X_TYPE* x, int x_stride,
                       const FIRST_WEIGHT_TYPE* weight, const float* bias, Keep&& keep) {
    using Step = Steps<FIRST_KERNEL, C_IN, FIRST_K>;
    using Pixels = TileRows<X_TYPE, COMPUTE_TYPE, X_PACK, FIRST_M, FIRST_K, threads, false>;
    constexpr int stage_elements = (FIRST_M + FIRST_N) * FIRST_K * chunk;
    Weights<FIRST_WEIGHT_TYPE, FIRST_WEIGHT_PACK, FIRST_KERNEL, C_IN, FIRST_N, FIRST_K, FirstSums> weights(weight,
                                                                                                          C_MIDDLE);
#pragma unroll 1
    for (int first_row = 0; first_row < middle_pixels; first_row += FIRST_M) {
        Pixels pixels;
        // The place in the image of each carried row's window: its first tap. Far outside where the middle map has
        // no pixel, so that no tap is read.
        int window_y[Pixels::passes], window_x[Pixels::passes];
#pragma unroll
        for (int pass = 0; pass < Pixels::passes; pass++) {
            int row = first_row + Pixels::row_of(pass);
            int at_y = tile.y - halo + row / middle_w, at_x = tile.x - halo + row % middle_w;
            bool exists = row < middle_pixels && tile.is_inside(at_y, at_x);
            window_y[pass] = exists ? at_y - FIRST_KERNEL / 2 : -(1 << 30);
            window_x[pass] = at_x - FIRST_KERNEL / 2;
        }
        FirstSums sums;
        Step step;
        auto begin = [&](int stage) {
            COMPUTE_TYPE* to = stages + stage * stage_elements;
            pixels.fetch(to, step.first_channel(), C_IN, x, [&](int pass) {
                int at_y = window_y[pass] + step.down(), at_x = window_x[pass] + step.right();
                return tile.is_inside(at_y, at_x) ? x + tile.pixel(at_y, at_x) * x_stride : nullptr;
            });
            weights.fetch(to + FIRST_M * FIRST_K * chunk, step);
            step.next();
        };
        auto finish = [&](int stage) {
            COMPUTE_TYPE* to = stages + stage * stage_elements;
            pixels.finish(to);
            weights.rows.finish(to + FIRST_M * FIRST_K * chunk);
        };
        auto product = [&](int stage) {
            const COMPUTE_TYPE* from = stages + stage * stage_elements;
            sums.template add<FIRST_K>(
                [&](int i, int column) { return from + swizzled<COMPUTE_TYPE, FIRST_K>(sums.read_row(i), column); },
                from + FIRST_M * FIRST_K * chunk);
        };
        // The stages are free: a barrier ended their last use.
        run_pipeline<STAGES>(Step::count, begin, finish, product);
#if FIRST_BIAS
        add_bias(sums, bias, C_MIDDLE);
#endif
#pragma unroll
        for (int r = 0; r < FirstSums::rows; r++) {
            int row = first_row + sums.row_of(r);
            if (row >= middle_pixels) continue;
            int in_y = row / middle_w - halo, in_x = row % middle_w - halo;  // in the tile
            bool inside = tile.is_inside(tile.y + in_y, tile.x + in_x);
            bool own = inside && static_cast<unsigned>(in_y) < TILE_H && static_cast<unsigned>(in_x) < TILE_W;
#pragma unroll
            for (int q = 0; q < FirstSums::runs; q++) {
                int channel = sums.column_of(q);
                if (channel >= middle_channels) continue;
                float values[FirstSums::run];
#pragma unroll
                for (int e = 0; e < FirstSums::run; e++) {
                    float value = activate<FIRST_ACTIVATION>(sums.at(r, q, e));
                    // The second convolution's padding is zero, and so are channels beyond the last.
                    values[e] = inside && channel + e < C_MIDDLE ? value : 0.0f;
                }
                store_pack(middle + swizzled<COMPUTE_TYPE, middle_chunks>(row, channel / chunk) + channel % chunk,
                           values);
                if (own && channel < C_MIDDLE) keep(tile.y + in_y, tile.x + in_x, channel, values);
            }
        }
        __syncthreads();
    }
}

// Computes the second convolution from the middle map and calls write(y, x, channel, values) for every run of it in
// the image: sums with bias and activation.
template <class Write>
DEVICE void second_conv(const Tile& tile, const COMPUTE_TYPE* middle, COMPUTE_TYPE* stages,
                        const SECOND_WEIGHT_TYPE* weight, const float* bias, Write&& write) {
    using Step = Steps<SECOND_KERNEL, C_MIDDLE, SECOND_K>;
    constexpr int stage_elements = SECOND_N * SECOND_K * chunk;
    Weights<SECOND_WEIGHT_TYPE, SECOND_WEIGHT_PACK, SECOND_KERNEL, C_MIDDLE, SECOND_N, SECOND_K, SecondSums> weights(
        weight, C_OUT);
    SecondSums sums;
    // The pixel of the middle map at the first tap of each row that is read.
    int window[SecondSums::read_rows];
#pragma unroll
    for (int i = 0; i < SecondSums::read_rows; i++) {
        int row = sums.read_row(i);
        window[i] = row / TILE_W * middle_w + row % TILE_W;
    }
    Step ahead, step;
    auto begin = [&](int stage) {
        weights.fetch(stages + stage * stage_elements, ahead);
        ahead.next();
    };
    auto finish = [&](int stage) { weights.rows.finish(stages + stage * stage_elements); };
    auto product = [&](int stage) {
        int shift = step.down() * middle_w + step.right();
        int first_chunk = step.part * SECOND_K;
        sums.template add<SECOND_K>(
            [&](int i, int column) {
                return middle + swizzled<COMPUTE_TYPE, middle_chunks>(window[i] + shift, first_chunk + column);
            },
            stages + stage * stage_elements);
        step.next();
    };
    run_pipeline<STAGES>(Step::count, begin, finish, product);
#if SECOND_BIAS
    add_bias(sums, bias, C_OUT);
#endif
#pragma unroll
    for (int r = 0; r < SecondSums::rows; r++) {
        int row = sums.row_of(r);
        int at_y = tile.y + row / TILE_W, at_x = tile.x + row % TILE_W;
        if (!tile.is_inside(at_y, at_x)) continue;
#pragma unroll
        for (int q = 0; q < SecondSums::runs; q++) {
            int channel = sums.column_of(q);
            if (channel >= C_OUT) continue;
            float values[SecondSums::run];
#pragma unroll
            for (int e = 0; e < SecondSums::run; e++) values[e] = activate<SECOND_ACTIVATION>(sums.at(r, q, e));
            write(at_y, at_x, channel, values);
        }
    }
}
