// y[i] = x[i] of the thread 32 further, in a block of 64.
// DIVERGENT: only half of the threads come to the barrier. ENDED: the others have ended.
#include "common/intrinsics.cuh"

extern "C" __global__ void divergent(const float* x, float* y) {
    SHARED_ARRAY(float, tile, 64);
    tile[threadIdx.x] = x[threadIdx.x];
#if defined(DIVERGENT)
    if (threadIdx.x < 32) __syncthreads();
    __syncthreads();
#elif defined(ENDED)
    if (threadIdx.x >= 32) return;
    __syncthreads();
#else
    __syncthreads();
#endif
    y[threadIdx.x] = tile[(threadIdx.x + 32) % 64];
}
