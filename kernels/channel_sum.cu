// The first of two levels of Σ over pixels, the gradient of a bias: each block's sum of every channel over its run of
// pixels, into partials[block][CHANNELS]. sum_partials.cu is the second.
//
// Reads x once (the floor) and writes 4 bytes a channel and block. COLUMNS × ROWS threads: each keeps a pack of
// channels and walks over every ROWS-th pixel of the run; rows are added as a tree. Which pixels a block has depends
// on the shape alone: the same bits in every schedule.
#include "common/map.cuh"
#include "common/reduce.cuh"

extern "C" __global__ void __launch_bounds__(COLUMNS* ROWS)
    channel_sum(const X_TYPE* x, int x_stride, float* partials, int pixels, int run) {
    SHARED_ARRAY(float, shared, PACK * COLUMNS * ROWS);
    Column at = find_column<COLUMNS, PACK>();
    bool valid = at.channel < CHANNELS;
    int first = blockIdx.x * run;
    int last = min(first + run, pixels);
    float sums[PACK] = {};
    if (valid) {
#pragma unroll 4
        for (int pixel = first + at.row; pixel < last; pixel += ROWS) {
            float v[PACK];
            load_pack(v, x + element(pixel, x_stride, at.channel));
#pragma unroll
            for (int i = 0; i < PACK; i++) sums[i] += v[i];
        }
    }
    sum_rows<ROWS, COLUMNS>(sums, shared, at.row, at.column);
    if (valid && at.row == 0) store_pack(partials + static_cast<long long>(blockIdx.x) * CHANNELS + at.channel, sums);
}
