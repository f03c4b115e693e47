// Adds 1 to n numbers: the least kernel that shows whether compiler, driver and device work
// (`gradpath doctor`). It fuses nothing.
//
// Reads n elements and writes n. n additions. One thread an element, 256 a block. Deterministic.
//
// Macros: X_TYPE, the storage type.
#include "common/types.cuh"

extern "C" __global__ void __launch_bounds__(256) probe(X_TYPE* __restrict__ y, const X_TYPE* __restrict__ x, int n) {
    int i = blockIdx.x * 256 + threadIdx.x;
    if (i < n) y[i] = from_float<X_TYPE>(to_float(x[i]) + 1.0f);
}
