// The emulator's twin of kernels/common/intrinsics.cuh: the same macros and functions over the
// emulator's runtime. What each one means is said there.
#pragma once

#define DEVICE __device__ __forceinline__

// ---- shared memory -------------------------------------------------------------------------------

// The key's address names the array within its block.
#define SHARED_ARRAY(type, name, count) \
    static const char name##_key = 0;   \
    typedef type name##_array[count];   \
    name##_array& name =                \
        *static_cast<name##_array*>(emulator_shared_static(&name##_key, #name, sizeof(name##_array), 16))
#define SHARED_DYNAMIC(name) unsigned char* name = static_cast<unsigned char*>(emulator_shared_dynamic(128))

DEVICE unsigned shared_address(const void* pointer) { return emulator_shared_address(pointer); }

// ---- two-byte numbers ----------------------------------------------------------------------------

DEVICE float bf16_bits_to_float(unsigned short bits) { return __uint_as_float(static_cast<unsigned>(bits) << 16); }

DEVICE unsigned short float_to_bf16_bits(float value) {
    unsigned bits = __float_as_uint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<unsigned short>((bits >> 16) | 0x40u);
    return static_cast<unsigned short>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

DEVICE float f16_bits_to_float(unsigned short bits) {
    unsigned sign = static_cast<unsigned>(bits & 0x8000u) << 16;
    unsigned exponent = bits >> 10 & 31u;
    unsigned mantissa = bits & 1023u;
    if (exponent == 31u) return __uint_as_float(sign | 0x7f800000u | mantissa << 13);
    if (exponent != 0u) return __uint_as_float(sign | (exponent + 112u) << 23 | mantissa << 13);
    // Zero and subnormal numbers: mantissa · 2^-24, exact in a float.
    return __uint_as_float(sign | __float_as_uint(static_cast<float>(mantissa) * 0x1p-24f));
}

DEVICE unsigned short float_to_f16_bits(float value) {
    unsigned bits = __float_as_uint(value);
    unsigned sign = bits >> 16 & 0x8000u;
    unsigned magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return 0x7fffu;
    // From 65520 on, half an ulp above the largest number, all is infinity.
    if (magnitude >= 0x477ff000u) return static_cast<unsigned short>(sign | 0x7c00u);
    if (magnitude < 0x38800000u) {
        // Below 2^-14 the ulp is 2^-24, which is a float's ulp at 0.5: the addition rounds.
        unsigned sum = __float_as_uint(__uint_as_float(magnitude) + 0.5f);
        return static_cast<unsigned short>(sign | (sum - 0x3f000000u));
    }
    unsigned rounded = magnitude - (112u << 23) + 0xfffu + (magnitude >> 13 & 1u);
    return static_cast<unsigned short>(sign | rounded >> 13);
}

// ---- asynchronous copies, global to shared (sm_80) -----------------------------------------------

#if __CUDA_ARCH__ >= 800
#define HAS_COPY_ASYNC 1
DEVICE void copy_async_16(void* shared, const void* global, bool valid) {
    emulator_copy_async(shared, global, 16, valid);
}
DEVICE void copy_async_8(void* shared, const void* global, bool valid) {
    emulator_copy_async(shared, global, 8, valid);
}
DEVICE void copy_async_4(void* shared, const void* global, bool valid) {
    emulator_copy_async(shared, global, 4, valid);
}
DEVICE void copy_async_commit() { emulator_copy_async_commit(); }
template <int pending>
DEVICE void copy_async_wait() {
    emulator_copy_async_wait(pending);
}
#else
#define HAS_COPY_ASYNC 0
#endif

// ---- matrices: ldmatrix (sm_75), mma.sync (f16 from sm_75, bf16 from sm_80) ----------------------

DEVICE void load_matrix_x4(unsigned (&registers)[4], const void* row) { emulator_load_matrix_x4(registers, row, 0); }
DEVICE void load_matrix_x4_transposed(unsigned (&registers)[4], const void* row) {
    emulator_load_matrix_x4(registers, row, 1);
}

DEVICE void mma_m16n8k8_f16(float (&d)[4], unsigned a0, unsigned a1, unsigned b0) {
    const unsigned a[2] = {a0, a1};
    emulator_mma_m16n8(d, a, &b0, 8, emulator::element_f16);
}
DEVICE void mma_m16n8k16_f16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
#if __CUDA_ARCH__ >= 800
    const unsigned b[2] = {b0, b1};
    emulator_mma_m16n8(d, a, b, 16, emulator::element_f16);
#else
    mma_m16n8k8_f16(d, a[0], a[1], b0);
    mma_m16n8k8_f16(d, a[2], a[3], b1);
#endif
}
#if __CUDA_ARCH__ >= 800
DEVICE void mma_m16n8k16_bf16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    const unsigned b[2] = {b0, b1};
    emulator_mma_m16n8(d, a, b, 16, emulator::element_bf16);
}
#endif

// ---- numbers -------------------------------------------------------------------------------------

DEVICE float fast_exp(float x) { return __expf(x); }
DEVICE float fast_divide(float a, float b) { return __fdividef(a, b); }
