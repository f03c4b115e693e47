// How the tiles of a matrix product come from global into shared memory: chunk by chunk, several stages
// ahead of the product, by asynchronous copies where the element types and the alignment permit it and by
// way of registers where elements are converted or transformed.
#pragma once
#include "common/types.cuh"

template <class A, class B>
struct Same {
    static constexpr bool value = false;
};
template <class A>
struct Same<A, A> {
    static constexpr bool value = true;
};

// Copies `bytes` (4, 8 or 16), or writes zeros.
template <int bytes>
DEVICE void copy_async(void* shared, const void* global, bool valid) {
#if HAS_COPY_ASYNC
    if constexpr (bytes == 16) copy_async_16(shared, global, valid);
    if constexpr (bytes == 8) copy_async_8(shared, global, valid);
    if constexpr (bytes == 4) copy_async_4(shared, global, valid);
#endif
}

// Which chunks of a tile of `rows` × `columns` elements a thread copies: the same columns in every pass, so
// that what depends on the column alone is computed once.
template <int rows, int columns, int chunk, int threads>
struct TileThread {
    static constexpr int CHUNKS = columns / chunk;
    static constexpr int ROWS = threads / CHUNKS < rows ? threads / CHUNKS : rows;  // in one pass
    static constexpr int PASSES = rows / ROWS;
    static_assert(columns % chunk == 0 && threads % CHUNKS == 0 && rows % ROWS == 0, "threads cover the tile");

    int row, column;

    DEVICE TileThread()
        : row(static_cast<int>(threadIdx.x) / CHUNKS), column(static_cast<int>(threadIdx.x) % CHUNKS * chunk) {}
    // Whether the thread copies at all: a small tile has fewer chunks than the block has threads.
    DEVICE bool active() const { return ROWS * CHUNKS == threads || row < ROWS; }
};

// `count` consecutive elements on their way: read as `Source` in pieces of `pack`, stored as `Compute`.
template <class Source, class Compute, int count, int pack, bool transformed>
struct Chunk {
    static constexpr int PIECES = count / pack;
    static constexpr bool DIRECT =
        HAS_COPY_ASYNC && Same<Source, Compute>::value && !transformed && pack * sizeof(Source) >= 4;
    static_assert(count % pack == 0, "a chunk is a whole number of pieces");

    Pack<Source, DIRECT ? 1 : pack> held[DIRECT ? 1 : PIECES];
    int valid;

    // Begins to copy the first `elements` (a multiple of `pack`); zeros take the place of the others, which are
    // not read.
    DEVICE void begin(Compute* shared, const Source* global, int elements) {
        if constexpr (DIRECT) {
#pragma unroll
            for (int piece = 0; piece < PIECES; piece++) {
                bool present = piece * pack < elements;
                copy_async<pack * sizeof(Source)>(shared + piece * pack, present ? global + piece * pack : global,
                                                  present);
            }
        } else {
            valid = elements;
#pragma unroll
            for (int piece = 0; piece < PIECES; piece++) {
                if (piece * pack < elements) {
                    held[piece] = *reinterpret_cast<const Pack<Source, pack>*>(global + piece * pack);
                }
            }
        }
    }

    // Stores what `begin` left in registers, each element as `transform(value, index)`.
    template <class Transform>
    DEVICE void finish(Compute* shared, Transform&& transform) {
        if constexpr (!DIRECT) {
            Pack<Compute, count> out;
#pragma unroll
            for (int i = 0; i < count; i++) {
                bool present = i / pack * pack < valid;
                if constexpr (Same<Source, Compute>::value && !transformed) {
                    out.at[i] = present ? held[i / pack].at[i % pack] : Compute{};
                } else {
                    float value = to_float(held[i / pack].at[i % pack]);
                    out.at[i] = from_float<Compute>(present ? transform(value, i) : 0.0f);
                }
            }
            *reinterpret_cast<Pack<Compute, count>*>(shared) = out;
        }
    }
};

// Stores what a thread's chunks of a tile hold in registers; the tile's rows lie `pitch` elements apart.
template <int pitch, class Thread, class Chunk, class Compute, class Transform>
DEVICE void finish_chunks(const Thread& thread, Chunk (&chunks)[Thread::PASSES], Compute* tile,
                          Transform&& transform) {
    if (!thread.active()) return;
#pragma unroll
    for (int i = 0; i < Thread::PASSES; i++) {
        int row = thread.row + i * Thread::ROWS;
        chunks[i].finish(tile + row * pitch + thread.column, transform);
    }
}

// Runs `steps` steps of a product over `stages` stages of shared memory. `begin(stage)` begins to load the
// next step's tiles, `finish(stage)` stores what passes through registers, `product(stage)` uses a stage.
template <int stages, class Begin, class Finish, class Product>
DEVICE void run_pipeline(int steps, Begin&& begin, Finish&& finish, Product&& product) {
#pragma unroll
    for (int stage = 0; stage < stages - 1; stage++) {
        if (stage < steps) {
            begin(stage);
            finish(stage);
        }
#if HAS_COPY_ASYNC
        copy_async_commit();
#endif
    }
    int stage = 0, ahead = stages - 1;
    // Unrolled, it would keep the addresses of many steps in registers.
#pragma unroll 1
    for (int step = 0; step < steps; step++) {
#if HAS_COPY_ASYNC
        copy_async_wait<stages - 2>();
#endif
        // This step's tiles are there for all threads, and all have left the stage that is loaded now.
        __syncthreads();
        bool more = step + stages - 1 < steps;
        if (more) begin(ahead);
#if HAS_COPY_ASYNC
        copy_async_commit();
#endif
        product(stage);
        if (more) finish(ahead);
        stage = stage + 1 == stages ? 0 : stage + 1;
        ahead = ahead + 1 == stages ? 0 : ahead + 1;
    }
}
