// y[i] += x[i].
// MISALIGNED: reads a float4 that starts at an odd element.
extern "C" __global__ void accumulate(const float* x, float* y) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
#ifdef MISALIGNED
    float4 four = *reinterpret_cast<const float4*>(x + i / 4 * 4 + 1);
    y[i] += four.x + four.y + four.z + four.w;
#else
    y[i] += x[i];
#endif
}
