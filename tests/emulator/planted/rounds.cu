// y[i] = the sum over rounds of round·x of the neighbour in the block, through one shared tile.
// MISSING_BARRIER: the tile is written anew while threads still read it.
#include "common/intrinsics.cuh"

extern "C" __global__ void rounds(const float* x, float* y, int count) {
    SHARED_ARRAY(float, tile, 128);
    int i = blockIdx.x * 128 + threadIdx.x;
    float sum = 0.0f;
    for (int round = 0; round < count; round++) {
        tile[threadIdx.x] = round * x[i];
        __syncthreads();
        sum += tile[(threadIdx.x + 64) % 128];
#ifndef MISSING_BARRIER
        __syncthreads();
#endif
    }
    y[i] = sum;
}
