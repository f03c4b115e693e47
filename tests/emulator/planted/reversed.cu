// y = x reversed within each block, through shared memory.
// MISSING_BARRIER: elements are read before the threads that write them need have done so.
#include "common/intrinsics.cuh"

extern "C" __global__ void reversed(const float* x, float* y) {
    SHARED_ARRAY(float, tile, 128);
    int first = blockIdx.x * 128;
    tile[threadIdx.x] = x[first + threadIdx.x];
#ifndef MISSING_BARRIER
    __syncthreads();
#endif
    y[first + threadIdx.x] = tile[127 - threadIdx.x];
}
