// The activation functions of convolution units, chosen at compile time: ACTIVATION_LINEAR …, in the
// order of `runtime::Activation`.
#pragma once
#include "common/intrinsics.cuh"

enum Activation {
    ACTIVATION_LINEAR,
    ACTIVATION_RELU,
    ACTIVATION_LEAKY,
    ACTIVATION_SILU,
    ACTIVATION_MISH,
    ACTIVATION_SIGMOID,
};

DEVICE float sigmoid(float x) { return fast_divide(1.0f, 1.0f + fast_exp(-x)); }

// tanh(ln(1 + e^x)) = ((1 + e^x)² − 1) / ((1 + e^x)² + 1), without its cancellation below zero and its
// overflow above.
DEVICE float tanh_softplus(float x) {
    if (x > 20.0f) return 1.0f;
    float e = fast_exp(x);
    float n = e * (e + 2.0f);
    return fast_divide(n, n + 2.0f);
}

template <int activation>
DEVICE float activate(float x) {
    switch (activation) {
        case ACTIVATION_RELU: return x > 0.0f ? x : (x != x ? x : 0.0f);
        case ACTIVATION_LEAKY: return x > 0.0f ? x : 0.1f * x;
        case ACTIVATION_SILU: return x * sigmoid(x);
        case ACTIVATION_MISH: return x * tanh_softplus(x);
        case ACTIVATION_SIGMOID: return sigmoid(x);
        default: return x;
    }
}

// The derivative at the pre-activation x; at a kink, the slope on the left.
template <int activation>
DEVICE float activation_derivative(float x) {
    switch (activation) {
        case ACTIVATION_RELU: return x > 0.0f ? 1.0f : 0.0f;
        case ACTIVATION_LEAKY: return x > 0.0f ? 1.0f : 0.1f;
        case ACTIVATION_SILU: {
            float s = sigmoid(x);
            return s * (1.0f + x * (1.0f - s));
        }
        case ACTIVATION_MISH: {
            float t = tanh_softplus(x);
            return t + x * (1.0f - t * t) * sigmoid(x);
        }
        case ACTIVATION_SIGMOID: {
            float s = sigmoid(x);
            return s * (1.0f - s);
        }
        default: return 1.0f;
    }
}
