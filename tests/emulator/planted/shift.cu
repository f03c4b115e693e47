// y[i] = x[i] for i < n.
// READ_BOUND, WRITE_BOUND: one element too many.
extern "C" __global__ void shift(const float* x, float* y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
#if defined(READ_BOUND)
    if (i < n) y[i] = x[i + 1];
#elif defined(WRITE_BOUND)
    if (i < n) y[i + 1] = x[i];
#else
    if (i < n) y[i] = x[i];
#endif
}
