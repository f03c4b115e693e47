// y[i] = x[i - 1] + x[i + 1] with zeros outside a block of 64, through dynamic shared memory of 66 floats.
// SHARED_BOUND: the halo on the right is one element too far. UNINITIALISED: nobody writes the halo.
#include "common/intrinsics.cuh"

extern "C" __global__ void halo(const float* x, float* y) {
    SHARED_DYNAMIC(bytes);
    float* tile = reinterpret_cast<float*>(bytes);
    int i = blockIdx.x * 64 + threadIdx.x;
    tile[threadIdx.x + 1] = x[i];
#ifndef UNINITIALISED
    if (threadIdx.x < 2) tile[threadIdx.x * 65] = 0.0f;
#endif
    __syncthreads();
#ifdef SHARED_BOUND
    y[i] = tile[threadIdx.x] + tile[threadIdx.x + 3 - (threadIdx.x < 62)];
#else
    y[i] = tile[threadIdx.x] + tile[threadIdx.x + 2];
#endif
}
