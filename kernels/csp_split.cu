// The split of a cross-stage partial stage: several 1×1 convolutions of stride 1 that read the same map, as one
// product that reads it once: yᵢ = act(prologue(x) · wᵢᵀ + biasᵢ), each branch into a view of its own, so that all of
// them land in the concats that will hold them. M = pixels, N = the branches' output channels side by side, each
// branch beginning at a multiple of 8 (START_i), K = input channels.
//
// Fuses: a norm's scale, shift and activation, pending on x; biases and activation; of each channel's sums one
// partial mean and sum of squared deviations a block, which kernels/conv_statistics.cu merges to batch statistics.
// Bytes (floor): x once, the weights once, each y once; statistics 8 bytes a channel and block of TILE_M pixels.
// Apart, every branch reads x.
// FLOPs: 2 · pixels · C_IN · Σ channels, on tensor cores for two-byte COMPUTE_TYPE or as f32 multiply-adds.
// Launch: x = pixel tiles · column tiles, the column tile running fastest, so that blocks that read the same pixels
// run together; 128 · PARTS_N threads; STAGES stages of K tiles in dynamic shared memory.
// Deterministic: each sum is one thread's, over K in order; statistics are reduced in a fixed order.
//
// Macros: BRANCHES (2 to 4); C_IN; CHANNELS_i, START_i of each branch; COLUMN_TILES; TILE_M, TILE_N; TILE_K in
// chunks; PARTS_N; STAGES; COMPUTE_TYPE, X_TYPE, X_PACK, WEIGHT_TYPE, WEIGHT_PACK, Y_TYPE, Y_PACK; PROLOGUE,
// PROLOGUE_ACTIVATION; BIAS; ACTIVATION; STATISTICS.
#include "common/activation.cuh"
#include "common/block_product.cuh"
#include "common/tile_moments.cuh"

constexpr int threads = 128 * PARTS_N;
constexpr int chunk = chunk_of<COMPUTE_TYPE>;
constexpr int k_tiles = (C_IN + TILE_K * chunk - 1) / (TILE_K * chunk);
constexpr int stage_elements = (TILE_M + TILE_N) * TILE_K * chunk;

using TileSums = Sums<COMPUTE_TYPE, TILE_M, TILE_N, PARTS_N>;
using Pixels = TileRows<X_TYPE, COMPUTE_TYPE, X_PACK, TILE_M, TILE_K, threads, PROLOGUE>;
using Weights = TileRows<WEIGHT_TYPE, COMPUTE_TYPE, WEIGHT_PACK, TILE_N, TILE_K, threads, false>;

struct Branch {
    const WEIGHT_TYPE* weight;  // [channels, C_IN]
    const float* bias;
    Y_TYPE* y;
    float* partials;  // [pixel tiles, 2, channels], then the pixels of each tile
    int y_stride, channels, start;
};

// The branch that column `column` of the product belongs to. Channels beyond its last are padding.
DEVICE Branch branch_of(const Branch (&branches)[BRANCHES], int column) {
    Branch found = branches[0];
#pragma unroll
    for (int i = 1; i < BRANCHES; i++) {
        if (column >= branches[i].start) found = branches[i];
    }
    return found;
}

// The partial statistics of a tile, to each branch its own. `shared`: 5 · TILE_N floats that no thread uses any more.
DEVICE void tile_statistics(TileSums& sums, float* shared, const Branch (&branches)[BRANCHES], int tile, int tiles,
                            int count, int first_column) {
    const int warp = static_cast<int>(threadIdx.x) / 32 % 4;
    tile_moments<4, TILE_N, threads>(sums, shared, warp, count, [&](int pass, int column, float total) {
        Branch branch = branch_of(branches, first_column + column);
        int channel = first_column + column - branch.start;
        if (channel < branch.channels) branch.partials[(2 * tile + pass) * branch.channels + channel] = total;
    });
    // One block a tile says, to each branch, how many pixels it has.
    if (threadIdx.x == 0 && first_column == 0) {
#pragma unroll
        for (int i = 0; i < BRANCHES; i++) {
            branches[i].partials[2 * tiles * branches[i].channels + tile] = static_cast<float>(count);
        }
    }
}

#define BRANCH_PARAMETERS(i) \
    const WEIGHT_TYPE *weight##i, const float *bias##i, Y_TYPE *y##i, float *partials##i, int y_stride##i
#define BRANCH_OF_PARAMETERS(i) \
    { weight##i, bias##i, y##i, partials##i, y_stride##i, CHANNELS_##i, START_##i }

extern "C" __global__ void __launch_bounds__(threads, 1)
csp_split(const X_TYPE* x, const float* affine, int x_stride, int pixels, BRANCH_PARAMETERS(0), BRANCH_PARAMETERS(1)
#if BRANCHES > 2
              , BRANCH_PARAMETERS(2)
#endif
#if BRANCHES > 3
              , BRANCH_PARAMETERS(3)
#endif
) {
    const Branch branches[BRANCHES] = {
        BRANCH_OF_PARAMETERS(0), BRANCH_OF_PARAMETERS(1),
#if BRANCHES > 2
        BRANCH_OF_PARAMETERS(2),
#endif
#if BRANCHES > 3
        BRANCH_OF_PARAMETERS(3),
#endif
    };
    SHARED_DYNAMIC(shared);
    COMPUTE_TYPE* stages = reinterpret_cast<COMPUTE_TYPE*>(shared);
    const int tile = static_cast<int>(blockIdx.x) / COLUMN_TILES;
    const int first_pixel = tile * TILE_M;
    const int first_column = static_cast<int>(blockIdx.x) % COLUMN_TILES * TILE_N;

    Pixels rows;
    Weights channels;
    const WEIGHT_TYPE* weights[Weights::passes];
#pragma unroll
    for (int pass = 0; pass < Weights::passes; pass++) {
        int column = first_column + TileSums::channel_of_row(Weights::row_of(pass));
        Branch branch = branch_of(branches, column);
        bool exists = Weights::is_row(pass) && column - branch.start < branch.channels;
        weights[pass] = exists ? branch.weight + (column - branch.start) * C_IN : nullptr;
    }

    int next = 0, arriving = 0;  // the first channel of the K tile that is fetched next, and of the one on its way
    auto begin = [&](int stage) {
        COMPUTE_TYPE* to = stages + stage * stage_elements;
        rows.fetch(to, next, C_IN, x, [&](int pass) {
            long long pixel = first_pixel + Pixels::row_of(pass);
            return pixel < pixels ? x + pixel * x_stride : nullptr;
        });
        channels.fetch(to + TILE_M * TILE_K * chunk, next, C_IN, branches[0].weight,
                       [&](int pass) { return weights[pass]; });
        arriving = next;
        next += TILE_K * chunk;
    };
    auto finish = [&](int stage) {
        COMPUTE_TYPE* to = stages + stage * stage_elements;
#if PROLOGUE
        int channel = arriving + Pixels::column() * chunk;
        float scale[chunk], shift[chunk];
#pragma unroll
        for (int i = 0; i < chunk; i++) {
            scale[i] = channel + i < C_IN ? affine[channel + i] : 0.0f;
            shift[i] = channel + i < C_IN ? affine[C_IN + channel + i] : 0.0f;
        }
        rows.finish(to,
                    [&](float value, int i) { return activate<PROLOGUE_ACTIVATION>(value * scale[i] + shift[i]); });
#else
        rows.finish(to);
#endif
        channels.finish(to + TILE_M * TILE_K * chunk);
    };
    TileSums sums;
    auto product = [&](int stage) {
        const COMPUTE_TYPE* from = stages + stage * stage_elements;
        sums.add<TILE_K>(
            [&](int i, int column) { return from + swizzled<COMPUTE_TYPE, TILE_K>(sums.read_row(i), column); },
            from + TILE_M * TILE_K * chunk);
    };
    run_pipeline<STAGES>(k_tiles, begin, finish, product);

#if BIAS
#pragma unroll
    for (int q = 0; q < TileSums::runs; q++) {
        // A run of channels lies in one branch: branches begin at multiples of 8.
        Branch branch = branch_of(branches, first_column + sums.column_of(q));
        int channel = first_column + sums.column_of(q) - branch.start;
#pragma unroll
        for (int e = 0; e < TileSums::run; e++) {
            float add = channel + e < branch.channels ? branch.bias[channel + e] : 0.0f;
#pragma unroll
            for (int r = 0; r < TileSums::rows; r++) sums.at(r, q, e) += add;
        }
    }
#endif
#if STATISTICS
    tile_statistics(sums, reinterpret_cast<float*>(shared), branches, tile, (pixels + TILE_M - 1) / TILE_M,
                    min(TILE_M, pixels - first_pixel), first_column);
#endif
#pragma unroll
    for (int q = 0; q < TileSums::runs; q++) {
        Branch branch = branch_of(branches, first_column + sums.column_of(q));
        int channel = first_column + sums.column_of(q) - branch.start;
        if (channel >= branch.channels) continue;
#pragma unroll
        for (int r = 0; r < TileSums::rows; r++) {
            long long pixel = first_pixel + sums.row_of(r);
            if (pixel >= pixels) continue;
            float values[TileSums::run];
#pragma unroll
            for (int e = 0; e < TileSums::run; e++) values[e] = activate<ACTIVATION>(sums.at(r, q, e));
            store_run<Y_PACK>(branch.y + pixel * branch.y_stride + channel, values, branch.channels - channel);
        }
    }
}
