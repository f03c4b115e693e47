// What the fused convolutions are made of: tiles in shared memory, rows that are brought there K tile by K tile, and
// a block's sums of a tile of pixels times a tile of output channels.
//
// Shared memory is counted in chunks of 16 bytes. A K tile has `k_chunks` of them; so a row of a staged tile is one
// pixel, or one output channel, with k_chunks · chunk elements along K.
//
// The sums are taken by tensor cores for two-byte elements (mma.sync m16n8k16 over ldmatrix) and by multiply-adds
// for f32. Both ask for a row's chunk wherever it lies, so that the pixels may be a staged tile or a map that stays
// in shared memory; both leave each thread `run` neighbouring channels at each of its pixels.
#pragma once
#include "common/tile_load.cuh"

template <class T>
constexpr int chunk_of = 16 / static_cast<int>(sizeof(T));

constexpr int round_up(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

// The chunks that a row of `chunks` chunks takes in shared memory: a power of two, or whole lines of 128 bytes.
constexpr int stored_chunks(int chunks) {
    return chunks > 8 ? round_up(chunks, 8) : chunks > 4 ? 8 : chunks > 2 ? 4 : chunks;
}

// The first element of chunk `column` of row `row`, where rows have `chunks` (a result of `stored_chunks`). Chunks
// are swizzled by the row's last three bits, reversed. So these lie in 8 different groups of banks: one column of any
// 8 neighbouring rows; and, beginning at whole ones, 4 columns of 2 rows, and 2 columns of 4.
template <class T, int chunks>
DEVICE int swizzled(int row, int column) {
    int key = (row & 1) << 2 | (row & 2) | (row >> 2 & 1);
    return (row * chunks + (column ^ (key & (chunks >= 8 ? 7 : chunks - 1)))) * chunk_of<T>;
}

// ---- rows on their way into shared memory --------------------------------------------------------

// Carries K tiles of `rows` rows, which are read as Source and used as T. A thread has one chunk column of every
// `row_step`-th row.
template <class Source, class T, int pack, int rows, int k_chunks, int threads, bool transformed>
struct TileRows {
    static constexpr int chunk = chunk_of<T>;
    static constexpr int row_step = threads / k_chunks;
    static constexpr int passes = (rows + row_step - 1) / row_step;
    static_assert(threads % k_chunks == 0, "threads carry whole rows");

    Chunk<Source, T, chunk, pack, transformed> held[passes];

    DEVICE static int column() { return static_cast<int>(threadIdx.x) % k_chunks; }
    DEVICE static int row_of(int pass) { return static_cast<int>(threadIdx.x) / k_chunks + pass * row_step; }
    DEVICE static bool is_row(int pass) { return rows % row_step == 0 || row_of(pass) < rows; }

    // Begins to bring the elements from `first` on of each row into `tile`, as many of them as there are below `end`
    // (zeros stand for the others). `source(pass)` is where the row's element 0 lies, or null for a row of zeros;
    // `somewhere` is any address that a copy of nothing may name.
    template <class From>
    DEVICE void fetch(T* tile, int first, int end, const Source* somewhere, From&& source) {
        int begin = first + column() * chunk;
        int elements = max(min(end - begin, chunk), 0);
#pragma unroll
        for (int pass = 0; pass < passes; pass++) {
            if (!is_row(pass)) continue;
            const Source* from = source(pass);
            bool present = from != nullptr && elements > 0;
            held[pass].begin(tile + swizzled<T, k_chunks>(row_of(pass), column()), present ? from + begin : somewhere,
                             present ? elements : 0);
        }
    }

    // Stores what had to pass through registers, each element as transform(value, index in the chunk).
    template <class Transform>
    DEVICE void finish(T* tile, Transform&& transform) {
#pragma unroll
        for (int pass = 0; pass < passes; pass++) {
            if (is_row(pass)) held[pass].finish(tile + swizzled<T, k_chunks>(row_of(pass), column()), transform);
        }
    }
    DEVICE void finish(T* tile) {
        finish(tile, [](float value, int) { return value; });
    }
};

// ---- sums ----------------------------------------------------------------------------------------

// The accumulators of an m × n tile, by tensor cores: m pixels over 4 warps, n channels over `parts_n`.
//
// A warp's channels are taken in groups of 32 (16 where it has no more): row 8j + 2t + e of a group's weights is
// channel t · run + 2j + e, so that lane t of a quad ends up with neighbouring channels.
template <class T, int m, int n, int parts_n>
struct Sums {
    static constexpr int warp_m = m / 4, warp_n = n / parts_n;
    static constexpr int group = warp_n % 32 == 0 ? 32 : 16;
    // A thread's share: `rows` pixels, and at each of them `runs` runs of `run` channels.
    static constexpr int rows = warp_m / 8, run = group / 4, runs = warp_n / group;
    // The rows whose chunks the thread reads.
    static constexpr int read_rows = warp_m / 16;
    static constexpr int lanes_n = 4;  // lanes of a warp that differ in their channels; the others in their pixels
    static_assert(warp_m % 16 == 0 && warp_n % 16 == 0, "a warp's share is made of 16×16 pieces");

    float d[warp_m / 16][warp_n / 8][4];
    int warp_row, warp_column, lane;

    DEVICE Sums() {
        int warp = static_cast<int>(threadIdx.x) / 32;
        lane = static_cast<int>(threadIdx.x) % 32;
        warp_row = warp % 4 * warp_m;
        warp_column = warp / 4 * warp_n;
#pragma unroll
        for (int i = 0; i < warp_m / 16; i++)
#pragma unroll
            for (int j = 0; j < warp_n / 8; j++)
#pragma unroll
                for (int e = 0; e < 4; e++) d[i][j][e] = 0.0f;
    }

    // The channel of the tile that row `row` of its weights holds.
    DEVICE static int channel_of_row(int row) {
        int in_group = row % group;
        return row - in_group + in_group % 8 / 2 * run + in_group / 8 * 2 + in_group % 2;
    }

    DEVICE int read_row(int i) const { return warp_row + i * 16 + lane % 16; }
    DEVICE float& at(int row, int of_run, int e) {
        return d[row / 2][(of_run * run + e) / 2][row % 2 * 2 + e % 2];
    }
    DEVICE int row_of(int row) const { return warp_row + row / 2 * 16 + row % 2 * 8 + lane / 4; }
    DEVICE int column_of(int of_run) const { return warp_column + of_run * group + lane % 4 * run; }

    DEVICE static void multiply_add(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, f16) {
        mma_m16n8k16_f16(d, a, b0, b1);
    }
#if __CUDA_ARCH__ >= 800
    DEVICE static void multiply_add(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, bf16) {
        mma_m16n8k16_bf16(d, a, b0, b1);
    }
#endif

    // Adds one K tile. `pixels(i, column)` is the address of chunk `column` of row `read_row(i)`; `weights` is a
    // staged tile.
    template <int k_chunks, class Pixels>
    DEVICE void add(Pixels&& pixels, const T* weights) {
        static_assert(k_chunks % 2 == 0, "a fragment has 16 elements along K");
#pragma unroll
        for (int k = 0; k < k_chunks; k += 2) {
            unsigned b[warp_n / 16][4];
#pragma unroll
            for (int j = 0; j < warp_n / 16; j++) {
                int row = warp_column + j * 16 + lane % 8 + lane / 16 * 8;
                load_matrix_x4(b[j], weights + swizzled<T, k_chunks>(row, k + lane / 8 % 2));
            }
#pragma unroll
            for (int i = 0; i < warp_m / 16; i++) {
                unsigned a[4];
                load_matrix_x4(a, pixels(i, k + lane / 16));
#pragma unroll
                for (int j = 0; j < warp_n / 8; j++) {
                    multiply_add(d[i][j], a, b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1], T{});
                }
            }
        }
    }
};

// The same by multiply-adds. The lanes of a warp stand 4 (pixels) × 8 (channels). A thread reads a chunk of each of
// its pixels, then of one channel after the other: a chunk feeds rows · columns · 4 multiply-adds by rows + columns
// reads. Row 8j + lane of a group's weights is channel lane · run + j.
template <int m, int n, int parts_n>
struct Sums<f32, m, n, parts_n> {
    static constexpr int warp_m = m / 4, warp_n = n / parts_n;
    static constexpr int group = warp_n % 32 == 0 ? 32 : 16;
    static constexpr int rows = warp_m / 4, run = group / 8, runs = warp_n / group;
    static constexpr int read_rows = rows;
    static constexpr int lanes_n = 8;
    static constexpr int columns = runs * run;
    static_assert(warp_m % 4 == 0 && warp_n % 16 == 0, "a warp's share is made of 4×16 pieces");

    float d[rows][columns];
    int warp_row, warp_column, lane;

    DEVICE Sums() {
        int warp = static_cast<int>(threadIdx.x) / 32;
        lane = static_cast<int>(threadIdx.x) % 32;
        warp_row = warp % 4 * warp_m;
        warp_column = warp / 4 * warp_n;
#pragma unroll
        for (int i = 0; i < rows; i++)
#pragma unroll
            for (int j = 0; j < columns; j++) d[i][j] = 0.0f;
    }

    DEVICE static int channel_of_row(int row) {
        int in_group = row % group;
        return row - in_group + in_group % 8 * run + in_group / 8;
    }

    DEVICE int read_row(int i) const { return row_of(i); }
    DEVICE float& at(int row, int of_run, int e) { return d[row][of_run * run + e]; }
    DEVICE int row_of(int row) const { return warp_row + row * 4 + lane / 8; }
    DEVICE int column_of(int of_run) const { return warp_column + of_run * group + lane % 8 * run; }

    template <int k_chunks, class Pixels>
    DEVICE void add(Pixels&& pixels, const f32* weights) {
#pragma unroll 1
        for (int k = 0; k < k_chunks; k++) {
            float a[rows][4];
#pragma unroll
            for (int i = 0; i < rows; i++) load_pack(a[i], pixels(i, k));
#pragma unroll
            for (int j = 0; j < columns; j++) {
                float b[4];
                load_pack(b, weights + swizzled<f32, k_chunks>(warp_column + j * 8 + lane % 8, k));
#pragma unroll
                for (int i = 0; i < rows; i++)
#pragma unroll
                    for (int e = 0; e < 4; e++) d[i][j] += a[i][e] * b[e];
            }
        }
    }
};

// Adds `bias[channel]` to the sums of each channel below `channels`.
template <class Sums>
DEVICE void add_bias(Sums& sums, const float* bias, int channels) {
#pragma unroll
    for (int q = 0; q < Sums::runs; q++)
#pragma unroll
        for (int e = 0; e < Sums::run; e++) {
            int channel = sums.column_of(q) + e;
            float add = channel < channels ? bias[channel] : 0.0f;
#pragma unroll
            for (int r = 0; r < Sums::rows; r++) sums.at(r, q, e) += add;
        }
}

constexpr int smaller(int a, int b) { return a < b ? a : b; }

// Writes the first `count` of `values` (the others do not exist), `pack` at a time: `count` and the address are
// multiples of it.
template <int pack_limit, int run, class T>
DEVICE void store_run(T* to, const float (&values)[run], int count) {
    constexpr int pack = smaller(run, pack_limit);
#pragma unroll
    for (int e = 0; e < run; e += pack) {
        if (e >= count) continue;
        float part[pack];
#pragma unroll
        for (int i = 0; i < pack; i++) part[i] = values[e + i];
        store_pack(to + e, part);
    }
}

// Adds the first `count` elements at `from` to `values`, `pack` at a time, as above.
template <int pack_limit, int run, class T>
DEVICE void add_run(float (&values)[run], const T* from, int count) {
    constexpr int pack = smaller(run, pack_limit);
#pragma unroll
    for (int e = 0; e < run; e += pack) {
        if (e >= count) continue;
        float part[pack];
        load_pack(part, from + e);
#pragma unroll
        for (int i = 0; i < pack; i++) values[e + i] += part[i];
    }
}
