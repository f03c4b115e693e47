// d = a·b for one tile: a [16, K] row-major, b [K, 8] as its transpose [8, K], d [16, 8]; fragments as a
// kernel would get them, by ldmatrix from shared memory.
// -DK=8 or 16, -DELEMENT=f16 or bf16. SWAPPED: two of the fragment's registers are exchanged.
#include "common/types.cuh"

extern "C" __global__ void matrices(const ELEMENT* a, const ELEMENT* b, float* d) {
    SHARED_ARRAY(ELEMENT, rows, 16 * 16);
    SHARED_ARRAY(ELEMENT, columns, 8 * 16);
    int lane = threadIdx.x;
    for (int i = lane; i < 16 * 16; i += 32) rows[i] = i % 16 < K ? a[i / 16 * K + i % 16] : from_float<ELEMENT>(0.0f);
    for (int i = lane; i < 8 * 16; i += 32)
        columns[i] = i % 16 < K ? b[i / 16 * K + i % 16] : from_float<ELEMENT>(0.0f);
    __syncthreads();
    unsigned left[4], right[4];
    load_matrix_x4(left, &rows[lane % 16 * 16 + lane / 16 * 8]);
    load_matrix_x4(right, &columns[lane % 8 * 16 + lane / 8 % 2 * 8]);
#ifdef SWAPPED
    unsigned register_1 = left[1];
    left[1] = left[2];
    left[2] = register_1;
#endif
    float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#if K == 8
    mma_m16n8k8_f16(sum, left[0], left[1], right[0]);
#elif IS_BF16
    mma_m16n8k16_bf16(sum, left, right[0], right[1]);
#else
    mma_m16n8k16_f16(sum, left, right[0], right[1]);
#endif
    for (int i = 0; i < 4; i++) d[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sum[i];
}

// The same with b as it is, [16, 8] row-major, read transposed.
extern "C" __global__ void matrices_transposed(const bf16* a, const bf16* b, float* d) {
    SHARED_ARRAY(bf16, rows, 16 * 16);
    SHARED_ARRAY(bf16, columns, 16 * 8);
    int lane = threadIdx.x;
    for (int i = lane; i < 16 * 16; i += 32) rows[i] = a[i];
    for (int i = lane; i < 16 * 8; i += 32) columns[i] = b[i];
    __syncthreads();
    unsigned left[4], right[4];
    load_matrix_x4(left, &rows[lane % 16 * 16 + lane / 16 * 8]);
    load_matrix_x4_transposed(right, &columns[lane % 16 * 8]);
    float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    mma_m16n8k16_bf16(sum, left, right[0], right[1]);
    for (int i = 0; i < 4; i++) d[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sum[i];
}
