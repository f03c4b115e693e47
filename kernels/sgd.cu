// One step of SGD with momentum over one parameter:
//
//   g = gradient + weight_decay·parameter,  v' = momentum·v + g
//   parameter' = parameter − rate·v'                   (NESTEROV: − rate·(g + momentum·v'))
//
// Reads three arrays of f32 and writes two, in place or not: 20 bytes an element, the floor; 6 to 8
// FLOPs. A thread a pack of PACK elements (16 bytes), blocks of 256; the last thread takes what is left.
// Learning rate and momentum are read from memory, since schedules change them. Deterministic.
#include "common/types.cuh"

constexpr int threads = 256;

struct Factors {
    float rate, momentum, weight_decay;
};

// `count` elements of one parameter: what a launch over many parameters would call too.
template <int count>
DEVICE void step(const float* parameter, const float* gradient, const float* velocity, float* new_parameter,
                 float* new_velocity, const Factors& factors) {
    float p[count], g[count], v[count];
    load_pack(p, parameter);
    load_pack(g, gradient);
    load_pack(v, velocity);
#pragma unroll
    for (int i = 0; i < count; i++) {
        g[i] += factors.weight_decay * p[i];
        v[i] = factors.momentum * v[i] + g[i];
        p[i] -= factors.rate * (NESTEROV ? g[i] + factors.momentum * v[i] : v[i]);
    }
    store_pack(new_parameter, p);
    store_pack(new_velocity, v);
}

extern "C" __global__ void __launch_bounds__(threads)
    sgd(const float* parameter, const float* __restrict__ gradient, const float* velocity,
        const float* __restrict__ rate, const float* __restrict__ momentum, float weight_decay, int elements,
        float* new_parameter, float* new_velocity) {
    int i = (blockIdx.x * threads + threadIdx.x) * PACK;
    if (i >= elements) return;
    Factors factors{*rate, *momentum, weight_decay};
    if (i + PACK <= elements) {
        step<PACK>(parameter + i, gradient + i, velocity + i, new_parameter + i, new_velocity + i, factors);
    } else {
        for (; i < elements; i++)
            step<1>(parameter + i, gradient + i, velocity + i, new_parameter + i, new_velocity + i, factors);
    }
}
