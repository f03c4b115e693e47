// c = a·bᵀ for a [rows, depth], b [columns, depth] of ELEMENT, c of floats: one warp copies boxes of both into a ring of
// two stages, a warpgroup multiplies. A block has 56 rows, so that 8 of a stage are nobody's, and 64 columns.
//
// MISSING_WAIT, WRONG_PARITY: of the warpgroup, for a stage's bytes. MISSING_RING_WAIT: of the copying thread, for a
// stage to be free. EARLY_RELEASE: a stage is free before its products are done. MISSING_PRODUCT_WAIT: for the last
// products. MISSING_PRODUCT_FENCE, MISSING_PROXY_FENCE, MISSING_INIT_FENCE. EXPECTED: bytes of a stage that the barrier
// is told of.
#include "common/wgmma_tile.cuh"

constexpr int block_rows = 56, block_columns = 64, ring_stages = 2;
constexpr int stage_bytes = (64 + block_columns) * row_bytes;
#ifndef EXPECTED
#define EXPECTED ((block_rows + block_columns) * row_bytes)
#endif

extern "C" __global__ void __launch_bounds__(160)
products(const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b, float* c, int rows, int columns,
         int depth) {
    SHARED_DYNAMIC(shared);
    SHARED_ARRAY(Barrier, full, ring_stages);
    SHARED_ARRAY(Barrier, empty, ring_stages);
    unsigned char* stages = shared + (1024 - shared_address(shared) % 1024) % 1024;
    const int first_row = blockIdx.x * block_rows, first_column = blockIdx.y * block_columns;
    const int steps = (depth + row_elements - 1) / row_elements;

    for (int stage = 0; stage < ring_stages; stage++) {
        float4* nobodys = reinterpret_cast<float4*>(stages + stage * stage_bytes + block_rows * row_bytes);
        if (threadIdx.x < (64 - block_rows) * row_bytes / 16) nobodys[threadIdx.x] = make_float4(0, 0, 0, 0);
    }
#ifndef MISSING_PROXY_FENCE
    shared_proxy_fence();
#endif
    if (threadIdx.x == 0) {
        for (int stage = 0; stage < ring_stages; stage++) {
            barrier_init(&full[stage], 1);
            barrier_init(&empty[stage], 4);
        }
#ifndef MISSING_INIT_FENCE
        barrier_init_fence();
#endif
    }
    __syncthreads();

    if (threadIdx.x >= 128) {
        if (threadIdx.x > 128) return;
        for (int k = 0; k < steps; k++) {
            int stage = k % ring_stages, round = k / ring_stages;
            unsigned char* to = stages + stage * stage_bytes;
#ifndef MISSING_RING_WAIT
            barrier_wait(&empty[stage], (round + 1) % 2);
#endif
            barrier_arrive_expect(&full[stage], EXPECTED);
            tma_load_3d(to, &a, k * row_elements, first_row, 0, &full[stage]);
            tma_load_3d(to + 64 * row_bytes, &b, k * row_elements, first_column, 0, &full[stage]);
        }
        return;
    }
    WarpgroupSums<ELEMENT, block_columns> sums;
    sums.begin();
    for (int k = 0; k < steps; k++) {
        int stage = k % ring_stages, round = k / ring_stages;
        const unsigned char* from = stages + stage * stage_bytes;
#if defined(WRONG_PARITY)
        barrier_wait(&full[stage], (round + 1) % 2);
#elif !defined(MISSING_WAIT)
        barrier_wait(&full[stage], round % 2);
#endif
        unsigned long long left = tile_descriptor(from), right = tile_descriptor(from + 64 * row_bytes);
#ifdef MISSING_PRODUCT_FENCE
        for (int i = 0; i < 4; i++) wgmma(sums.d, left + along_row(i), right + along_row(i), ELEMENT{});
        wgmma_commit();
#else
        sums.multiply<4>(left, right);
#endif
#ifdef EARLY_RELEASE
        if (threadIdx.x % 32 == 0) barrier_arrive(&empty[stage]);
        wgmma_wait<1>(sums.d);
#else
        wgmma_wait<1>(sums.d);
        if (k > 0 && threadIdx.x % 32 == 0) barrier_arrive(&empty[(k - 1) % ring_stages]);
#endif
    }
#ifndef MISSING_PRODUCT_WAIT
    wgmma_wait<0>(sums.d);
#endif
    sums.gather_runs();
    for (int r = 0; r < sums.rows; r++) {
        int in_block = sums.row_of(r), row = first_row + in_block;
        if (in_block >= block_rows || row >= rows) continue;
        for (int q = 0; q < sums.runs; q++)
            for (int e = 0; e < sums.run; e++) {
                int column = first_column + sums.column_of(q) + e;
                if (column < columns) c[row * columns + column] = sums.at(r, q, e);
            }
    }
}
