// What plain CUDA C++ has no word for: PTX instructions behind functions, and shared memory behind
// macros. Kernels use these, never assembly, so that this file alone is replaced where the kernels
// run on something other than a GPU (tests/emulator has a twin of it, function by function).
//
// NVRTC bundles no header of the toolkit: the two-byte types' conversions are here too.
#pragma once

#define DEVICE __device__ __forceinline__

// ---- shared memory -------------------------------------------------------------------------------

// `SHARED_ARRAY(float, tile, 256)`: a static array in shared memory, aligned to 16 bytes.
#define SHARED_ARRAY(type, name, count) __shared__ __align__(16) type name[count]
// `SHARED_DYNAMIC(name)`: the launch's dynamic shared memory as `unsigned char* name`, aligned to 128
// bytes. Once in a kernel, before any branch.
#define SHARED_DYNAMIC(name)                                         \
    extern __shared__ __align__(128) unsigned char shared_dynamic[]; \
    unsigned char* name = shared_dynamic

// The 32-bit address of a pointer into shared memory.
DEVICE unsigned shared_address(const void* pointer) {
    return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

// ---- two-byte numbers ----------------------------------------------------------------------------

DEVICE float bf16_bits_to_float(unsigned short bits) { return __uint_as_float(static_cast<unsigned>(bits) << 16); }

// Round to nearest, ties to even; NaN stays NaN.
DEVICE unsigned short float_to_bf16_bits(float value) {
#if __CUDA_ARCH__ >= 800
    unsigned short rounded;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(rounded) : "f"(value));
    return rounded;
#else
    unsigned bits = __float_as_uint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<unsigned short>((bits >> 16) | 0x40u);
    return static_cast<unsigned short>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
#endif
}

DEVICE float f16_bits_to_float(unsigned short bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

// Round to nearest, ties to even.
DEVICE unsigned short float_to_f16_bits(float value) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}

// ---- asynchronous copies, global to shared (sm_80) -----------------------------------------------

#if __CUDA_ARCH__ >= 800
#define HAS_COPY_ASYNC 1

// Copies 16 bytes (both addresses aligned to 16), or writes zeros where `valid` is false; `global` is
// not read then.
DEVICE void copy_async_16(void* shared, const void* global, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global),
                 "r"(valid ? 16 : 0)
                 : "memory");
}
// The same for 8 and for 4 bytes.
DEVICE void copy_async_8(void* shared, const void* global, bool valid) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(shared_address(shared)), "l"(global),
                 "r"(valid ? 8 : 0)
                 : "memory");
}
DEVICE void copy_async_4(void* shared, const void* global, bool valid) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(shared)), "l"(global),
                 "r"(valid ? 4 : 0)
                 : "memory");
}
// Closes the group of the copies begun since the last one.
DEVICE void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most `pending` of this thread's groups are still under way.
template <int pending>
DEVICE void copy_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}
#else
#define HAS_COPY_ASYNC 0
#endif

// ---- matrices: ldmatrix (sm_75), mma.sync (f16 from sm_75, bf16 from sm_80) ----------------------

// Four 8×8 matrices of two-byte elements; lane l gives the address of row l % 8 of matrix l / 8.
DEVICE void load_matrix_x4(unsigned (&registers)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                 : "r"(shared_address(row))
                 : "memory");
}
DEVICE void load_matrix_x4_transposed(unsigned (&registers)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// d += a·b: a 16×8 (row), b 8×8 (column) of f16, d 16×8 of f32, in the fragments of the PTX manual.
DEVICE void mma_m16n8k8_f16(float (&d)[4], unsigned a0, unsigned a1, unsigned b0) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a0), "r"(a1), "r"(b0));
}
// d += a·b: a 16×16 (row), b 16×8 (column).
DEVICE void mma_m16n8k16_f16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
#if __CUDA_ARCH__ >= 800
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    mma_m16n8k8_f16(d, a[0], a[1], b0);
    mma_m16n8k8_f16(d, a[2], a[3], b1);
#endif
}
#if __CUDA_ARCH__ >= 800
DEVICE void mma_m16n8k16_bf16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
#endif

// ---- numbers -------------------------------------------------------------------------------------

// e^x to about 2 ulp, by the hardware's base-2 exponential.
DEVICE float fast_exp(float x) { return __expf(x); }
// a / b to 2 ulp, by the hardware's reciprocal; 0 where b is beyond 2^126.
DEVICE float fast_divide(float a, float b) { return __fdividef(a, b); }
