// y[i] = x of the lane's mirror image in its warp, through shared memory that only the warp uses.
// MISSING_SYNCWARP: lanes of a warp do not run in step. WRONG_MASK: a shuffle that names too few lanes.
#include "common/intrinsics.cuh"

extern "C" __global__ void mirror(const float* x, float* y) {
    SHARED_ARRAY(float, tile, 64);
    unsigned lane = threadIdx.x % 32, first = threadIdx.x - lane;
    tile[threadIdx.x] = x[threadIdx.x];
#ifndef MISSING_SYNCWARP
    __syncwarp();
#endif
    float mirrored = tile[first + 31 - lane];
#ifdef WRONG_MASK
    mirrored += __shfl_sync(0x0000ffffu, 0.0f, 0);
#endif
    y[threadIdx.x] = mirrored;
}
