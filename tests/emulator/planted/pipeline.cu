// y[i] = the sum over k of x[k][i], rows staged by asynchronous copies in two buffers; a thread reads the
// element that its neighbour copied.
// MISSING_WAIT: nothing waits for the copies. SHORT_WAIT: one group too few is waited for.
// MISSING_BARRIER: a buffer is filled again while threads still read it.
#include "common/intrinsics.cuh"

extern "C" __global__ void pipeline(const float* x, float* y, int rows) {
    SHARED_ARRAY(float, buffer, 2 * 64);
    int own = threadIdx.x, other = (threadIdx.x + 33) % 64;
    copy_async_4(&buffer[own], &x[own], true);
    copy_async_commit();
    float sum = 0.0f;
    for (int k = 0; k < rows; k++) {
        copy_async_4(&buffer[(k + 1) % 2 * 64 + own], &x[(k + 1) * 64 + own], k + 1 < rows);
        copy_async_commit();
#if defined(SHORT_WAIT)
        copy_async_wait<2>();
#elif !defined(MISSING_WAIT)
        copy_async_wait<1>();
#endif
        __syncthreads();
        sum += buffer[k % 2 * 64 + other];
#ifndef MISSING_BARRIER
        __syncthreads();
#endif
    }
    y[other] = sum;
}
