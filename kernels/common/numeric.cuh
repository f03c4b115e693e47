// Functions of losses in the forms that neither overflow nor lose their digits.
#pragma once
#include "common/intrinsics.cuh"

// σ(x) and 1 − σ(x), neither by a difference that would cancel.
struct Sigmoid {
    float value, rest;
};

DEVICE Sigmoid sigmoid_and_rest(float x) {
    float e = fast_exp(-fabsf(x));
    float large = 1.0f / (1.0f + e);
    float small = e * large;
    return x >= 0.0f ? Sigmoid{large, small} : Sigmoid{small, large};
}

// The cross-entropy of the logit z with the target t: max(z, 0) − z·t + ln(1 + e^−|z|). log1p and not
// log: a loss of 10⁻⁵, which most cells have, would keep two digits.
DEVICE float binary_cross_entropy(float z, float t) {
    return fmaxf(z, 0.0f) - z * t + log1pf(fast_exp(-fabsf(z)));
}

// The mean of `terms` terms a match; 0 where there is none.
DEVICE float mean_over_matches(float sum, int matches, int terms) {
    float count = static_cast<float>(matches) * static_cast<float>(terms);
    return count == 0.0f ? 0.0f : sum / count;
}
