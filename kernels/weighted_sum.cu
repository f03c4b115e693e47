// y = Σ weightᵢ · xᵢ over up to eight scalars, added to y where an earlier launch began the sum. One thread, in
// order. `terms` of the pointers are read.
extern "C" __global__ void __launch_bounds__(32)
    weighted_sum(float* y, int continues, int terms, const float* x0, const float* x1, const float* x2, const float* x3,
                 const float* x4, const float* x5, const float* x6, const float* x7, float w0, float w1, float w2,
                 float w3, float w4, float w5, float w6, float w7) {
    if (threadIdx.x != 0) return;
    const float* x[8] = {x0, x1, x2, x3, x4, x5, x6, x7};
    float w[8] = {w0, w1, w2, w3, w4, w5, w6, w7};
    float sum = continues ? y[0] : 0.0f;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        if (i < terms) sum += w[i] * x[i][0];
    }
    y[0] = sum;
}
