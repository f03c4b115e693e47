// Conversions and warp functions, element by element.
#include "common/types.cuh"

extern "C" __global__ void widen(const unsigned short* x, float* from_f16, float* from_bf16) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    from_f16[i] = f16_bits_to_float(x[i]);
    from_bf16[i] = bf16_bits_to_float(x[i]);
}

extern "C" __global__ void narrow(const float* x, unsigned short* to_f16, unsigned short* to_bf16) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    to_f16[i] = float_to_f16_bits(x[i]);
    to_bf16[i] = float_to_bf16_bits(x[i]);
}

// Row r of y, of 32 lanes: what function r gives.
extern "C" __global__ void warp_functions(const int* x, int* y) {
    unsigned all = 0xffffffffu;
    int lane = threadIdx.x, value = x[lane], row = 0;
    y[32 * row++ + lane] = __shfl_sync(all, value, 5);
    y[32 * row++ + lane] = __shfl_sync(all, value, 9, 8);
    y[32 * row++ + lane] = __shfl_up_sync(all, value, 3);
    y[32 * row++ + lane] = __shfl_down_sync(all, value, 3, 16);
    y[32 * row++ + lane] = __shfl_xor_sync(all, value, 6);
    y[32 * row++ + lane] = static_cast<int>(__ballot_sync(all, value % 3 == 0));
    y[32 * row++ + lane] = __any_sync(all, value == 7) + 2 * __all_sync(all, value > 0);
    y[32 * row++ + lane] = __reduce_add_sync(all, value);
    y[32 * row++ + lane] = static_cast<int>(__match_any_sync(all, value % 5));
    y[32 * row++ + lane] = __syncthreads_count(value % 2);
    y[32 * row++ + lane] = __syncthreads_or(value == 100) + 2 * __syncthreads_and(value > 0);
}
