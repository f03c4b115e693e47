// Scale and shift of a batch norm for a pack of channels.
#pragma once
#include "common/map.cuh"

// mean, 1/√(var + ε)·γ and β − mean·scale of the channels from `channel`; `vector` parameters are read by one
// instruction.
template <int vector, int count>
DEVICE void load_norm(float (&mean)[count], float (&scale)[count], float (&shift)[count], const float* means,
                      const float* variances, const float* gammas, const float* betas, int channel, float epsilon) {
    float variance[count], gamma[count], beta[count];
    load_packs<count, vector>(mean, means + channel);
    load_packs<count, vector>(variance, variances + channel);
    load_packs<count, vector>(gamma, gammas + channel);
    load_packs<count, vector>(beta, betas + channel);
#pragma unroll
    for (int i = 0; i < count; i++) {
        scale[i] = gamma[i] / sqrtf(variance[i] + epsilon);
        shift[i] = beta[i] - mean[i] * scale[i];
    }
}
