// One step of AdamW over one parameter:
//
//   m' = β₁·m + (1 − β₁)·g,  v' = β₂·v + (1 − β₂)·g²
//   parameter' = parameter·(1 − rate·decay) − rate·m̂ / (√v̂ + ε),  m̂ = m'/(1 − β₁ᵗ), v̂ = v'/(1 − β₂ᵗ)
//
// Reads four arrays of f32 and writes three, in place or not: 28 bytes an element, the floor; 14 FLOPs,
// and some 60 a thread for the step's factors. A thread a pack of PACK elements (16 bytes), blocks of
// 256; the last thread takes what is left. `rate_and_step` has the learning rate and t; a t below 1 is
// reported, and nothing is written. Deterministic.
#include "common/status.cuh"
#include "common/types.cuh"

constexpr int threads = 256;

struct Factors {
    float beta1, rest1, beta2, rest2, epsilon;
    // rate·decay, rate / (1 − β₁ᵗ), 1 / √(1 − β₂ᵗ).
    float decay, rate, root;
};

// `count` elements of one parameter: what a launch over many parameters would call too.
template <int count>
DEVICE void step(const float* parameter, const float* gradient, const float* first, const float* second,
                 float* new_parameter, float* new_first, float* new_second, const Factors& factors) {
    float p[count], g[count], m[count], v[count];
    load_pack(p, parameter);
    load_pack(g, gradient);
    load_pack(m, first);
    load_pack(v, second);
#pragma unroll
    for (int i = 0; i < count; i++) {
        m[i] = factors.beta1 * m[i] + factors.rest1 * g[i];
        v[i] = factors.beta2 * v[i] + factors.rest2 * g[i] * g[i];
        // p − decay·p keeps the digits of the decay that 1 − decay would lose.
        float kept = fmaf(-factors.decay, p[i], p[i]);
        p[i] = kept - factors.rate * m[i] / (sqrtf(v[i]) * factors.root + factors.epsilon);
    }
    store_pack(new_parameter, p);
    store_pack(new_first, m);
    store_pack(new_second, v);
}

// `rest` = 1 − β and `log_beta` = ln β are rounded from f64 on the host.
extern "C" __global__ void __launch_bounds__(threads)
    adamw(const float* parameter, const float* __restrict__ gradient, const float* first, const float* second,
          const float* __restrict__ rate_and_step, float beta1, float rest1, float log_beta1, float beta2, float rest2,
          float log_beta2, float epsilon, float weight_decay, int elements, float* new_parameter, float* new_first,
          float* new_second, StatusWord* status) {
    int i = (blockIdx.x * threads + threadIdx.x) * PACK;
    if (i >= elements) return;
    float rate = rate_and_step[0], t = rate_and_step[1];
    // Not the other way around, so that NaN is refused.
    if (!(t >= 1.0f)) {
        if (i == 0) report_data_error(status, DATA_ERROR_STEP, t);
        return;
    }
    // 1 − βᵗ = −expm1(t·ln β), exact to f32 even for β₂ᵗ close to 1.
    Factors factors{beta1, rest1, beta2, rest2, epsilon, rate * weight_decay, rate / -expm1f(t * log_beta1),
                    1.0f / sqrtf(-expm1f(t * log_beta2))};
    if (i + PACK <= elements) {
        step<PACK>(parameter + i, gradient + i, first + i, second + i, new_parameter + i, new_first + i,
                   new_second + i, factors);
    } else {
        for (; i < elements; i++)
            step<1>(parameter + i, gradient + i, first + i, second + i, new_parameter + i, new_first + i,
                    new_second + i, factors);
    }
}
