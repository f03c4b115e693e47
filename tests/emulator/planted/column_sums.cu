// sums[j] = the sum over i of x[i][j], integers, a block a row.
// PLAIN: every block adds without an atomic. FLOATS: adds as floats.
#ifdef FLOATS
using T = float;
#else
using T = int;
#endif

extern "C" __global__ void column_sums(const T* x, T* sums) {
    T value = x[blockIdx.x * blockDim.x + threadIdx.x];
#ifdef PLAIN
    sums[threadIdx.x] += value;
#else
    atomicAdd(&sums[threadIdx.x], value);
#endif
}
