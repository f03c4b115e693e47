// average' = decay·average + (1 − decay)·value over one parameter.
//
// Reads two arrays of f32 and writes one, in place or not: 12 bytes an element, the floor; 3 FLOPs. A
// thread a pack of PACK elements (16 bytes), blocks of 256; the last thread takes what is left. The
// decay is read from memory, since it rises while the average is young. Deterministic.
#include "common/types.cuh"

constexpr int threads = 256;

// `count` elements of one parameter: what a launch over many parameters would call too.
template <int count>
DEVICE void step(const float* average, const float* value, float* new_average, float decay) {
    float a[count], v[count];
    load_pack(a, average);
    load_pack(v, value);
    // The difference is exact for a decay of ½ and above.
    float rest = 1.0f - decay;
#pragma unroll
    for (int i = 0; i < count; i++) a[i] = decay * a[i] + rest * v[i];
    store_pack(new_average, a);
}

extern "C" __global__ void __launch_bounds__(threads)
    ema(const float* average, const float* __restrict__ value, const float* __restrict__ decay, int elements,
        float* new_average) {
    int i = (blockIdx.x * threads + threadIdx.x) * PACK;
    if (i >= elements) return;
    if (i + PACK <= elements) {
        step<PACK>(average + i, value + i, new_average + i, *decay);
    } else {
        for (; i < elements; i++) step<1>(average + i, value + i, new_average + i, *decay);
    }
}
