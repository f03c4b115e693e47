// The first of two levels of a batch norm's statistics: mean and Σ (z − mean)² of every channel over each block's
// run of pixels, into partials[block][2][CHANNELS]. merge_statistics.cu is the second.
//
// Reads z once (the floor) and writes 8 bytes a channel and block. 3 FLOPs an element. COLUMNS × ROWS threads: each
// keeps a pack of channels and walks over every ROWS-th pixel of the run. Sums are taken about the run's first pixel,
// so that their squares cancel little, and are added over the rows as a tree. Which pixels a block has depends on the
// shape alone, so the result is the same bit for bit on every device and in every schedule.
#include "common/map.cuh"
#include "common/reduce.cuh"

extern "C" __global__ void __launch_bounds__(COLUMNS* ROWS, 1)
    batch_statistics(const Z_TYPE* z, int z_stride, float* partials, int pixels, int run) {
    SHARED_ARRAY(float, shared, 2 * PACK * COLUMNS * ROWS);
    Column at = find_column<COLUMNS, PACK>();
    bool valid = at.channel < CHANNELS;
    int first = blockIdx.x * run;
    int last = min(first + run, pixels);
    float pivot[PACK], sums[2 * PACK] = {};
    if (valid) {
        load_pack(pivot, z + element(first, z_stride, at.channel));
#pragma unroll 4
        for (int pixel = first + at.row; pixel < last; pixel += ROWS) {
            float v[PACK];
            load_pack(v, z + element(pixel, z_stride, at.channel));
#pragma unroll
            for (int i = 0; i < PACK; i++) {
                float d = v[i] - pivot[i];
                sums[i] += d;
                sums[PACK + i] += d * d;
            }
        }
    }
    sum_rows<ROWS, COLUMNS>(sums, shared, at.row, at.column);
    if (!valid || at.row != 0) return;
    float inverse = 1.0f / static_cast<float>(last - first);
    float mean[PACK], squares[PACK];
#pragma unroll
    for (int i = 0; i < PACK; i++) {
        mean[i] = pivot[i] + sums[i] * inverse;
        squares[i] = fmaxf(sums[PACK + i] - sums[i] * sums[i] * inverse, 0.0f);
    }
    float* partial = partials + 2ll * blockIdx.x * CHANNELS + at.channel;
    store_pack(partial, mean);
    store_pack(partial + CHANNELS, squares);
}
