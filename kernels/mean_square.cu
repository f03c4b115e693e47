// factor · Σ x² over each block's run of packs, into sums[block]. Where there are several blocks, partial_sum.cu adds
// theirs and divides by the number of elements; one block does that by its factor.
//
// Reads x once (the floor) and writes 4 bytes a block. 2 FLOPs an element. A thread takes every 256th pack of the
// run, in order; the block's threads are added as a tree. The run depends on the shape alone: the same bits in every
// schedule.
#include "common/map.cuh"
#include "common/reduce.cuh"

// `run` packs a block of the `packs` that the map has.
extern "C" __global__ void __launch_bounds__(256)
    mean_square(const X_TYPE* x, int x_stride, float* sums, int packs, int run, float factor) {
    SHARED_ARRAY(float, shared, 256);
    constexpr int packs_of_pixel = CHANNELS / PACK;
    int first = blockIdx.x * run;
    int last = min(first + run, packs);
    float squares[PACK] = {};
#pragma unroll 4
    for (int index = first + threadIdx.x; index < last; index += 256) {
        int pixel = index / packs_of_pixel;
        int channel = (index - pixel * packs_of_pixel) * PACK;
        float v[PACK];
        load_pack(v, x + element(pixel, x_stride, channel));
#pragma unroll
        for (int i = 0; i < PACK; i++) squares[i] += v[i] * v[i];
    }
    float sum[1] = {squares[0]};
#pragma unroll
    for (int i = 1; i < PACK; i++) sum[0] += squares[i];
    sum_rows<256, 1>(sum, shared, threadIdx.x, 0);
    if (threadIdx.x == 0) sums[blockIdx.x] = factor * sum[0];
}
