// y = act(conv(x, w) + bias) + residual on the first channels, into a channel slice, on Hopper's warpgroups. An
// implicit GEMM: M = output pixels, N = output channels, K = (ky, kx, input channel), a step of K within one tap.
//
// The pixels of a block are a box [box_n, box_h, box_w] of the output map, of at most 64 · WARPGROUPS; what a tap reads
// for them is a box of x, and TMA copies it as it lies, 64 channels at a time, zeros for what is outside of the map.
// One warp begins the copies, STAGES ahead; WARPGROUPS others multiply, each 64 pixels. A stage is handed over by two
// barriers: `full` (its bytes have come) and `empty` (each multiplying warp has done with it).
//
// Fuses: bias, activation, masked residual (also in place), one partial mean and sum of squared deviations a block and
// channel.
// Bytes (floor): x, w and the residual once, y once; statistics 8 bytes a channel and box.
// FLOPs: 2 · pixels · c_out · taps · c_in, on tensor cores, f16 or bf16 into f32.
// Launch: x = boxes · channel tiles, the channel tile running fastest, so that blocks that read the same pixels run
// together; WARPGROUPS · 128 + 32 threads; dynamic shared memory: 1024 bytes to align to, and the stages.
// Deterministic: each sum is one thread's, over K in order; statistics are reduced in a fixed order.
//
// Macros beside those of the headers: TILE_N, WARPGROUPS, STAGES, MIN_BLOCKS; COMPUTE_TYPE: of x and the weight;
// CHANNELS: input channels. Where the convolution is 1×1 at stride 1, the map is one row of pixels.
#include "common/conv_epilogue.cuh"
#include "common/conv_index.cuh"
#include "common/tile_moments.cuh"
#include "common/wgmma_tile.cuh"

constexpr int tile_m = 64 * WARPGROUPS;
constexpr int consumers = 128 * WARPGROUPS, threads = consumers + 32;
constexpr int input_bytes = tile_m * row_bytes, stage_bytes = input_bytes + TILE_N * row_bytes;
// Steps of K within a tap, and the products of the last of them, which need not have 64 channels.
constexpr int tap_steps = (CHANNELS + row_elements - 1) / row_elements;
constexpr int last_channels = CHANNELS - (tap_steps - 1) * row_elements;
constexpr int last_products = (last_channels + product_k - 1) / product_k;
constexpr int k_steps = kernel_taps * tap_steps;

// The stages in turn: which one, and the parity of its barriers' phase.
struct Ring {
    int stage = 0;
    unsigned parity = 0;

    DEVICE void next() {
        stage++;
        if (stage == STAGES) {
            stage = 0;
            parity ^= 1;
        }
    }
};

using Sums = WarpgroupSums<COMPUTE_TYPE, TILE_N>;

// The rows of a thread as `tile_moments` asks for them: those that are pixels of the map come before its count.
struct PixelRows {
    static constexpr int rows = Sums::rows, run = Sums::run, runs = Sums::runs, lanes_n = 4;
    Sums& sums;
    const int (&pixel)[Sums::rows];

    DEVICE float at(int row, int of_run, int e) { return sums.at(row, of_run, e); }
    DEVICE int row_of(int row) const { return pixel[row] < 0 ? tile_m : 0; }
    DEVICE static int column_of(int of_run) { return Sums::column_of(of_run); }
};
static_assert((4 * WARPGROUPS + 1) * TILE_N * 4 <= STAGES * stage_bytes, "statistics are reduced in the stages");

extern "C" __global__ void __launch_bounds__(threads, MIN_BLOCKS)
conv_forward_wgmma(const __grid_constant__ TensorMap x_map, const __grid_constant__ TensorMap weight_map,
                   const float* bias, const RESIDUAL_TYPE* residual, Y_TYPE* y, float* statistics, int y_stride,
                   int residual_stride, int residual_channels, int out_n, int out_h, int out_w, int box_n, int box_h,
                   int box_w, int c_out) {
    SHARED_DYNAMIC(shared);
    SHARED_ARRAY(Barrier, full, STAGES);
    SHARED_ARRAY(Barrier, empty, STAGES);
    unsigned char* stages = shared + (1024 - shared_address(shared) % 1024) % 1024;

    const int channel_tiles = (c_out + TILE_N - 1) / TILE_N;
    const int box = blockIdx.x / channel_tiles;
    const int first_channel = (blockIdx.x - box * channel_tiles) * TILE_N;
    const int boxes_w = (out_w + box_w - 1) / box_w, boxes_h = (out_h + box_h - 1) / box_h;
    // The first output of the box.
    Position first = position_of(box, boxes_h, boxes_w);
    first = {first.image * box_n, first.y * box_h, first.x * box_w};
    const int box_pixels = box_n * box_h * box_w;

    // No copy writes the rows behind the box; whatever is multiplied there, it must not be left undefined.
#pragma unroll 1
    for (int stage = 0; stage < STAGES; stage++) {
        uint4* rows = reinterpret_cast<uint4*>(stages + stage * stage_bytes);
        const int chunks = row_bytes / 16;
#pragma unroll 1
        for (int i = box_pixels * chunks + threadIdx.x; i < tile_m * chunks; i += threads) {
            rows[i] = make_uint4(0, 0, 0, 0);
        }
    }
    shared_proxy_fence();
    if (threadIdx.x == 0) {
        for (int stage = 0; stage < STAGES; stage++) {
            barrier_init(&full[stage], 1);
            barrier_init(&empty[stage], consumers / 32);
        }
        barrier_init_fence();
    }
    __syncthreads();

    Ring ring;
    if (threadIdx.x >= consumers) {
        const Position window = window_of(first);
        const unsigned bytes = (box_pixels + TILE_N) * row_bytes;
#pragma unroll 1
        for (int tap = 0; tap < kernel_taps && threadIdx.x == consumers; tap++) {
            const int at_y = window.y + tap / KERNEL_W * DILATION_H, at_x = window.x + tap % KERNEL_W * DILATION_W;
#pragma unroll 1
            for (int channel = 0; channel < CHANNELS; channel += row_elements) {
                barrier_wait(&empty[ring.stage], ring.parity ^ 1);
                unsigned char* stage = stages + ring.stage * stage_bytes;
                barrier_arrive_expect(&full[ring.stage], bytes);
                tma_load_4d(stage, &x_map, channel, at_x, at_y, window.image, &full[ring.stage]);
                tma_load_3d(stage + input_bytes, &weight_map, channel, tap, first_channel, &full[ring.stage]);
                ring.next();
            }
        }
#if HAS_STATISTICS
        // The barriers of `tile_moments`.
        __syncwarp();
        for (int i = 0; i < 4; i++) __syncthreads();
#endif
        return;
    }

    const int warpgroup_row = threadIdx.x / 128 * 64;
    Sums sums;
    sums.begin();
    // One product is under way while the next stage is waited for; then the stage before is free.
    int before = 0;
#pragma unroll 1
    for (int k = 0; k < k_steps; k++) {
        barrier_wait(&full[ring.stage], ring.parity);
        const unsigned char* stage = stages + ring.stage * stage_bytes;
        const unsigned long long a = tile_descriptor(stage + warpgroup_row * row_bytes);
        const unsigned long long b = tile_descriptor(stage + input_bytes);
        if (tap_steps == 1 || k % tap_steps == tap_steps - 1) sums.multiply<last_products>(a, b);
        else sums.multiply<row_elements / product_k>(a, b);
        wgmma_wait<1>(sums.d);
        if (k > 0 && threadIdx.x % 32 == 0) barrier_arrive(&empty[before]);
        before = ring.stage;
        ring.next();
    }
    wgmma_wait<0>(sums.d);
    sums.gather_runs();

    const Output out = {y, y_stride, residual, residual_stride, residual_channels};
    int pixel[sums.rows];  // of the map, −1 where the row is none
#pragma unroll
    for (int r = 0; r < sums.rows; r++) {
        const int row = warpgroup_row + sums.row_of(r);
        Position at = position_of(row, box_h, box_w);
        at = {first.image + at.image, first.y + at.y, first.x + at.x};
        const bool exists = row < box_pixels && at.image < out_n && at.y < out_h && at.x < out_w;
        pixel[r] = exists ? pixel_of(at, out_h, out_w) : -1;
    }
#if HAS_STATISTICS
#if HAS_BIAS
#pragma unroll
    for (int q = 0; q < sums.runs; q++) {
        float add[sums.run];
        load_bias(add, bias, first_channel + sums.column_of(q), c_out);
#pragma unroll
        for (int r = 0; r < sums.rows; r++)
#pragma unroll
            for (int e = 0; e < sums.run; e++) sums.at(r, q, e) += add[e];
    }
#endif
    // Partials as those of common/conv_forward_statistics.cuh, a tile being a box.
    const int count = min(box_n, out_n - first.image) * min(box_h, out_h - first.y) * min(box_w, out_w - first.x);
    const int boxes = (out_n + box_n - 1) / box_n * boxes_h * boxes_w;
    PixelRows pixels{sums, pixel};
    tile_moments<4 * WARPGROUPS, TILE_N, consumers>(
        pixels, reinterpret_cast<float*>(stages), threadIdx.x / 32, count, [&](int pass, int column, float total) {
            if (first_channel + column < c_out) {
                statistics[(2 * box + pass) * c_out + first_channel + column] = total;
            }
        });
    if (threadIdx.x == 0 && first_channel == 0) statistics[2 * boxes * c_out + box] = static_cast<float>(count);
#endif
#pragma unroll
    for (int q = 0; q < sums.runs; q++) {
        const int channel = first_channel + sums.column_of(q);
        if (channel >= c_out) continue;
        float add[sums.run] = {};
#if HAS_BIAS && !HAS_STATISTICS
        load_bias(add, bias, channel, c_out);
#endif
#pragma unroll
        for (int r = 0; r < sums.rows; r++) {
            if (pixel[r] < 0) continue;
            float run[sums.run];
#pragma unroll
            for (int e = 0; e < sums.run; e++) run[e] = sums.at(r, q, e) + add[e];
            write_run(out, pixel[r], channel, c_out, run);
        }
    }
}
