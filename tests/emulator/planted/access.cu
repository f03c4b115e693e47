// Ways of reading whose traffic is counted by hand in tests/emulator.rs. One block of 32 threads.
#include "common/types.cuh"

// Element i·stride.
extern "C" __global__ void strided(const float* x, float* y, int stride) { y[threadIdx.x] = x[threadIdx.x * stride]; }

// From an address that is in the middle of a sector.
extern "C" __global__ void shifted(const float* x, float* y) { y[threadIdx.x] = x[threadIdx.x + 4]; }

// All lanes the same element, twice.
extern "C" __global__ void broadcast(const float* x, float* y) {
    y[threadIdx.x] = x[3];
    __syncthreads();
    y[threadIdx.x] += x[3];
}

// Eight bf16 a lane with one instruction.
extern "C" __global__ void packed(const bf16* x, bf16* y) {
    float values[8];
    load_pack(values, x + 8 * threadIdx.x);
    store_pack(y + 8 * threadIdx.x, values);
}

// Structs of 12 bytes, and of two bf16 that start at an odd one.
struct Pair {
    bf16 first, second;
};
extern "C" __global__ void structs(const float3* x, const bf16* odd, float* y) {
    float3 point = x[threadIdx.x];
    Pair pair = *reinterpret_cast<const Pair*>(odd + 2 * threadIdx.x + 1);
    y[threadIdx.x] = point.x + point.y + point.z + to_float(pair.first) + to_float(pair.second);
}

// Through shared memory with 16 bytes a lane, at a distance of `pitch` floats.
extern "C" __global__ void shared_rows(const float* x, float* y, int pitch) {
    SHARED_DYNAMIC(bytes);
    float* tile = reinterpret_cast<float*>(bytes);
    float4 four = *reinterpret_cast<const float4*>(x + 4 * threadIdx.x);
    *reinterpret_cast<float4*>(tile + threadIdx.x * pitch) = four;
    __syncthreads();
    y[threadIdx.x] = tile[threadIdx.x * pitch];
}
