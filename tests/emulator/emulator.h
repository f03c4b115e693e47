// CUDA C++ for g++: what a kernel sees of the language when it runs on the emulator instead of a GPU.
//
// The stand-in for NVRTC (nvrtc.cpp) includes this file before the kernel's source and compiles the
// whole with `-fsanitize=thread`, so that every load and store calls a hook that trace.cpp defines. The
// functions named emulator_* live in the stand-in for the driver, which opens the compiled kernel. No
// standard header is included, as NVRTC bundles none; a kernel file then compiles in a tenth of a second.
//
// `__global__` and `__launch_bounds__(…)` are not here: nvrtc.cpp reads them in the preprocessed source
// and turns them into the table `emulator_kernels`.
#pragma once

#include "interface.h"

#define __device__
#define __host__
#define __constant__ __attribute__((visibility("default")))
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(bytes) __attribute__((aligned(bytes)))

// ---- vectors -------------------------------------------------------------------------------------

#define EMULATOR_VECTORS(type, name)                                                                   \
    struct alignas(2 * sizeof(type)) name##2 { type x, y; };                                           \
    struct alignas(4 * sizeof(type) > 16 ? 16 : 4 * sizeof(type)) name##4 { type x, y, z, w; };        \
    __forceinline__ name##2 make_##name##2(type x, type y) { return {x, y}; }                          \
    __forceinline__ name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
EMULATOR_VECTORS(float, float)
EMULATOR_VECTORS(double, double)
EMULATOR_VECTORS(int, int)
EMULATOR_VECTORS(unsigned, uint)
EMULATOR_VECTORS(short, short)
EMULATOR_VECTORS(unsigned short, ushort)
EMULATOR_VECTORS(signed char, char)
EMULATOR_VECTORS(unsigned char, uchar)
EMULATOR_VECTORS(long long, longlong)
EMULATOR_VECTORS(unsigned long long, ulonglong)
#undef EMULATOR_VECTORS

struct float3 {
    float x, y, z;
};
struct int3 {
    int x, y, z;
};
__forceinline__ float3 make_float3(float x, float y, float z) { return {x, y, z}; }
__forceinline__ int3 make_int3(int x, int y, int z) { return {x, y, z}; }
__forceinline__ uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }

// ---- the thread's place -----------------------------------------------------------------------------

#define threadIdx (emulator_thread_index)
#define blockIdx (emulator_block_index)
#define blockDim (emulator_block_size)
#define gridDim (emulator_grid_size)
static constexpr int warpSize = 32;

namespace emulator {

template <size_t...>
struct Indices {};
template <class... A>
struct Trampoline {
    static constexpr size_t sizes[sizeof...(A) + 1] = {sizeof(A)..., 0};
    template <size_t... i>
    static void spread(const void* function, void** arguments, Indices<i...>) {
        reinterpret_cast<void (*)(A...)>(const_cast<void*>(function))(*static_cast<A*>(arguments[i])...);
    }
    static void call(const void* function, void** arguments) {
        spread(function, arguments, Indices<__integer_pack(sizeof...(A))...>{});
    }
};
template <class... A>
inline Kernel describe(const char* name, void (*function)(A...), unsigned max_threads) {
    const void* address = reinterpret_cast<const void*>(function);
    return {name, &Trampoline<A...>::call, address, sizeof...(A), Trampoline<A...>::sizes, max_threads};
}

template <class To, class From>
__forceinline__ To bits(From value) {
    static_assert(sizeof(To) == sizeof(From), "sizes differ");
    return __builtin_bit_cast(To, value);
}

// A shuffled value travels in eight bytes.
template <class T>
__forceinline__ T shuffle(unsigned mask, T value, int lane, Shuffle kind, int width) {
    static_assert(sizeof(T) <= 8, "a shuffle moves at most eight bytes");
    unsigned long long carrier = 0;
    __builtin_memcpy(&carrier, &value, sizeof(T));
    carrier = emulator_shuffle(mask, carrier, lane, kind, width);
    __builtin_memcpy(&value, &carrier, sizeof(T));
    return value;
}

template <class T>
struct is_float { static constexpr bool value = false; };
template <>
struct is_float<float> { static constexpr bool value = true; };
template <>
struct is_float<double> { static constexpr bool value = true; };

// Threads are switched only where they wait, so a plain update is atomic. It is told to the trace as
// one, and not instrumented.
template <class T, class Update>
__attribute__((noinline, no_sanitize_thread)) T atomic(T* address, Update update) {
    emulator_atomic(address, sizeof(T), is_float<T>::value);
    T old = *address;
    *address = update(old);
    return old;
}

}  // namespace emulator

// ---- synchronisation -----------------------------------------------------------------------------

__forceinline__ void __syncthreads() { emulator_sync_threads(); }
__forceinline__ int __syncthreads_and(int predicate) {
    return emulator_sync_threads_vote(predicate, emulator::vote_and);
}
__forceinline__ int __syncthreads_or(int predicate) {
    return emulator_sync_threads_vote(predicate, emulator::vote_or);
}
__forceinline__ int __syncthreads_count(int predicate) {
    return emulator_sync_threads_vote(predicate, emulator::vote_count);
}
__forceinline__ void __syncwarp(unsigned mask = ~0u) { emulator_sync_warp(mask); }
__forceinline__ void __threadfence() { emulator_fence(); }
__forceinline__ void __threadfence_block() {}

// ---- warps ---------------------------------------------------------------------------------------

template <class T>
__forceinline__ T __shfl_sync(unsigned mask, T value, int lane, int width = 32) {
    return emulator::shuffle(mask, value, lane, emulator::shuffle_index, width);
}
template <class T>
__forceinline__ T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32) {
    return emulator::shuffle(mask, value, static_cast<int>(distance), emulator::shuffle_up, width);
}
template <class T>
__forceinline__ T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32) {
    return emulator::shuffle(mask, value, static_cast<int>(distance), emulator::shuffle_down, width);
}
template <class T>
__forceinline__ T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32) {
    return emulator::shuffle(mask, value, lanes, emulator::shuffle_xor, width);
}
__forceinline__ unsigned __ballot_sync(unsigned mask, int predicate) { return emulator_ballot(mask, predicate); }
__forceinline__ int __any_sync(unsigned mask, int predicate) { return emulator_ballot(mask, predicate) != 0; }
__forceinline__ int __all_sync(unsigned mask, int predicate) { return emulator_ballot(mask, !predicate) == 0; }
template <class T>
__forceinline__ unsigned __match_any_sync(unsigned mask, T value) {
    unsigned long long carrier = 0;
    __builtin_memcpy(&carrier, &value, sizeof(T));
    return emulator_match_any(mask, carrier);
}
__forceinline__ unsigned __activemask() { return emulator_active_mask(); }
#define EMULATOR_REDUCE(operation, type, is_signed)                                                       \
    __forceinline__ type __reduce_##operation##_sync(unsigned mask, type value) {                         \
        unsigned bits = static_cast<unsigned>(value);                                                     \
        return static_cast<type>(emulator_reduce(mask, bits, emulator::reduce_##operation, is_signed));   \
    }
EMULATOR_REDUCE(add, int, 1)
EMULATOR_REDUCE(add, unsigned, 0)
EMULATOR_REDUCE(min, int, 1)
EMULATOR_REDUCE(min, unsigned, 0)
EMULATOR_REDUCE(max, int, 1)
EMULATOR_REDUCE(max, unsigned, 0)
EMULATOR_REDUCE(and, unsigned, 0)
EMULATOR_REDUCE(or, unsigned, 0)
EMULATOR_REDUCE(xor, unsigned, 0)
#undef EMULATOR_REDUCE

// ---- atomics -------------------------------------------------------------------------------------

// `update` computes the new value from `old` and `v`.
#define EMULATOR_ATOMIC(name, type, update)                                          \
    __forceinline__ type name(type* address, type v) {                               \
        return emulator::atomic(address, [v](type old) -> type { return update; });  \
    }
#define EMULATOR_ATOMICS(type)                            \
    EMULATOR_ATOMIC(atomicAdd, type, old + v)             \
    EMULATOR_ATOMIC(atomicExch, type, (void(old), v))
#define EMULATOR_INTEGER_ATOMICS(type)                                                                          \
    EMULATOR_ATOMICS(type)                                                                                      \
    EMULATOR_ATOMIC(atomicMin, type, old < v ? old : v)                                                         \
    EMULATOR_ATOMIC(atomicMax, type, old > v ? old : v)                                                         \
    EMULATOR_ATOMIC(atomicAnd, type, old & v)                                                                   \
    EMULATOR_ATOMIC(atomicOr, type, old | v)                                                                    \
    EMULATOR_ATOMIC(atomicXor, type, old ^ v)                                                                   \
    __forceinline__ type atomicCAS(type* address, type compare, type v) {                                       \
        return emulator::atomic(address, [compare, v](type old) -> type { return old == compare ? v : old; });  \
    }
EMULATOR_ATOMICS(float)
EMULATOR_ATOMICS(double)
EMULATOR_INTEGER_ATOMICS(int)
EMULATOR_INTEGER_ATOMICS(unsigned)
EMULATOR_INTEGER_ATOMICS(unsigned long long)
#undef EMULATOR_ATOMIC
#undef EMULATOR_ATOMICS
#undef EMULATOR_INTEGER_ATOMICS
__forceinline__ int atomicSub(int* p, int v) { return atomicAdd(p, -v); }
__forceinline__ unsigned atomicSub(unsigned* p, unsigned v) { return atomicAdd(p, 0u - v); }
__forceinline__ unsigned atomicInc(unsigned* p, unsigned limit) {
    return emulator::atomic(p, [limit](unsigned old) { return old >= limit ? 0u : old + 1u; });
}

// ---- loads, numbers, bits ------------------------------------------------------------------------

template <class T>
__forceinline__ T __ldg(const T* p) { return *p; }
template <class T>
__forceinline__ T __ldcg(const T* p) { return *p; }
template <class T>
__forceinline__ T __ldcs(const T* p) { return *p; }
template <class T>
__forceinline__ void __stcg(T* p, T v) { *p = v; }
template <class T>
__forceinline__ void __stcs(T* p, T v) { *p = v; }

__forceinline__ float __uint_as_float(unsigned v) { return emulator::bits<float>(v); }
__forceinline__ unsigned __float_as_uint(float v) { return emulator::bits<unsigned>(v); }
__forceinline__ float __int_as_float(int v) { return emulator::bits<float>(v); }
__forceinline__ int __float_as_int(float v) { return emulator::bits<int>(v); }
__forceinline__ int __float2int_rn(float v) { return static_cast<int>(__builtin_rintf(v)); }
__forceinline__ int __float2int_rz(float v) { return static_cast<int>(v); }
__forceinline__ int __float2int_rd(float v) { return static_cast<int>(__builtin_floorf(v)); }
__forceinline__ int __float2int_ru(float v) { return static_cast<int>(__builtin_ceilf(v)); }
__forceinline__ unsigned __float2uint_rn(float v) { return v <= 0.0f ? 0u : static_cast<unsigned>(__builtin_rintf(v)); }
__forceinline__ float __int2float_rn(int v) { return static_cast<float>(v); }
__forceinline__ float __uint2float_rn(unsigned v) { return static_cast<float>(v); }
__forceinline__ int __popc(unsigned v) { return __builtin_popcount(v); }
__forceinline__ int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
__forceinline__ int __clz(int v) { return v ? __builtin_clz(static_cast<unsigned>(v)) : 32; }
__forceinline__ int __ffs(int v) { return __builtin_ffs(v); }
__forceinline__ unsigned __umulhi(unsigned a, unsigned b) {
    return static_cast<unsigned>(static_cast<unsigned long long>(a) * b >> 32);
}
__forceinline__ unsigned __brev(unsigned v) {
    unsigned reversed = 0;
    for (int i = 0; i < 32; i++) reversed |= (v >> i & 1u) << (31 - i);
    return reversed;
}
__forceinline__ unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
    return static_cast<unsigned>((static_cast<unsigned long long>(high) << 32 | low) >> (shift & 31u));
}
__forceinline__ unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
    return static_cast<unsigned>((static_cast<unsigned long long>(high) << 32 | low) << (shift & 31u) >> 32);
}
__forceinline__ unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
    unsigned long long both = static_cast<unsigned long long>(y) << 32 | x;
    unsigned result = 0;
    for (int i = 0; i < 4; i++) {
        unsigned choice = selector >> (4 * i) & 15u;
        unsigned byte = static_cast<unsigned>(both >> (8 * (choice & 7u)) & 255u);
        if (choice & 8u) byte = byte & 128u ? 255u : 0u;
        result |= byte << (8 * i);
    }
    return result;
}
__forceinline__ void __trap() { emulator_trap("the kernel called __trap()"); }
__forceinline__ long long clock64() { return 0; }
__forceinline__ unsigned __cvta_generic_to_shared(const void* pointer) { return emulator_shared_address(pointer); }

// ---- mathematics ---------------------------------------------------------------------------------

#define EMULATOR_MATH_1(name)                                                       \
    __forceinline__ float name##f(float x) { return __builtin_##name##f(x); }       \
    __forceinline__ float name(float x) { return __builtin_##name##f(x); }          \
    __forceinline__ double name(double x) { return __builtin_##name(x); }
#define EMULATOR_MATH_2(name)                                                                \
    __forceinline__ float name##f(float x, float y) { return __builtin_##name##f(x, y); }    \
    __forceinline__ float name(float x, float y) { return __builtin_##name##f(x, y); }       \
    __forceinline__ double name(double x, double y) { return __builtin_##name(x, y); }
EMULATOR_MATH_1(exp)
EMULATOR_MATH_1(exp2)
EMULATOR_MATH_1(expm1)
EMULATOR_MATH_1(log)
EMULATOR_MATH_1(log2)
EMULATOR_MATH_1(log10)
EMULATOR_MATH_1(log1p)
EMULATOR_MATH_1(sqrt)
EMULATOR_MATH_1(cbrt)
EMULATOR_MATH_1(sin)
EMULATOR_MATH_1(cos)
EMULATOR_MATH_1(tan)
EMULATOR_MATH_1(asin)
EMULATOR_MATH_1(acos)
EMULATOR_MATH_1(atan)
EMULATOR_MATH_1(sinh)
EMULATOR_MATH_1(cosh)
EMULATOR_MATH_1(tanh)
EMULATOR_MATH_1(erf)
EMULATOR_MATH_1(floor)
EMULATOR_MATH_1(ceil)
EMULATOR_MATH_1(trunc)
EMULATOR_MATH_1(round)
EMULATOR_MATH_1(rint)
EMULATOR_MATH_1(fabs)
EMULATOR_MATH_2(fmin)
EMULATOR_MATH_2(fmax)
EMULATOR_MATH_2(fmod)
EMULATOR_MATH_2(pow)
EMULATOR_MATH_2(atan2)
EMULATOR_MATH_2(copysign)
EMULATOR_MATH_2(hypot)
#undef EMULATOR_MATH_1
#undef EMULATOR_MATH_2
__forceinline__ float fmaf(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
__forceinline__ float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
__forceinline__ double fma(double a, double b, double c) { return __builtin_fma(a, b, c); }
__forceinline__ float ldexpf(float x, int e) { return __builtin_ldexpf(x, e); }
__forceinline__ float rsqrtf(float x) { return 1.0f / __builtin_sqrtf(x); }
__forceinline__ float __expf(float x) { return __builtin_expf(x); }
__forceinline__ float __logf(float x) { return __builtin_logf(x); }
__forceinline__ float __log2f(float x) { return __builtin_log2f(x); }
__forceinline__ float __sinf(float x) { return __builtin_sinf(x); }
__forceinline__ float __cosf(float x) { return __builtin_cosf(x); }
__forceinline__ float __powf(float x, float y) { return __builtin_powf(x, y); }
__forceinline__ float __fdividef(float a, float b) { return a / b; }
__forceinline__ float __fdiv_rn(float a, float b) { return a / b; }
__forceinline__ float __frcp_rn(float x) { return 1.0f / x; }
__forceinline__ float __fsqrt_rn(float x) { return __builtin_sqrtf(x); }
__forceinline__ float __frsqrt_rn(float x) { return 1.0f / __builtin_sqrtf(x); }
__forceinline__ float __fadd_rn(float a, float b) { return a + b; }
__forceinline__ float __fsub_rn(float a, float b) { return a - b; }
__forceinline__ float __fmul_rn(float a, float b) { return a * b; }
__forceinline__ float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
__forceinline__ float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
__forceinline__ bool isnan(float x) { return __builtin_isnan(x); }
__forceinline__ bool isinf(float x) { return __builtin_isinf_sign(x) != 0; }
__forceinline__ bool isfinite(float x) { return __builtin_isfinite(x); }
__forceinline__ int abs(int x) { return x < 0 ? -x : x; }

#define EMULATOR_MIN_MAX(type)                                              \
    __forceinline__ type min(type a, type b) { return b < a ? b : a; }      \
    __forceinline__ type max(type a, type b) { return a < b ? b : a; }
EMULATOR_MIN_MAX(int)
EMULATOR_MIN_MAX(unsigned)
EMULATOR_MIN_MAX(long)
EMULATOR_MIN_MAX(unsigned long)
EMULATOR_MIN_MAX(long long)
EMULATOR_MIN_MAX(unsigned long long)
#undef EMULATOR_MIN_MAX
__forceinline__ float min(float a, float b) { return __builtin_fminf(a, b); }
__forceinline__ float max(float a, float b) { return __builtin_fmaxf(a, b); }
__forceinline__ double min(double a, double b) { return __builtin_fmin(a, b); }
__forceinline__ double max(double a, double b) { return __builtin_fmax(a, b); }
