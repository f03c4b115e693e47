// total = the sum of x: each block writes its part, and the last to finish adds the parts in order.
// MISSING_FENCE: the parts may not be there yet. MISSING_TICKET: block 0 adds them, finished or not.
#include "common/intrinsics.cuh"

extern "C" __global__ void last_block(const int* x, int* parts, unsigned* finished, int* total) {
    SHARED_ARRAY(int, is_last, 1);
    int sum = x[blockIdx.x * 32 + threadIdx.x];
    for (int lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, lanes);
    if (threadIdx.x == 0) {
        parts[blockIdx.x] = sum;
#ifndef MISSING_FENCE
        __threadfence();
#endif
#ifdef MISSING_TICKET
        is_last[0] = blockIdx.x == 0;
#else
        is_last[0] = atomicAdd(finished, 1u) == gridDim.x - 1;
#endif
    }
    __syncthreads();
    if (is_last[0] && threadIdx.x == 0) {
        int all = 0;
        for (unsigned i = 0; i < gridDim.x; i++) all += parts[i];
        total[0] = all;
    }
}
