// Two-byte elements of matrices as floats.
#pragma once
#include <cstdint>
#include <cstring>

#include "runtime.h"

namespace emulator {

inline float f16_to_float(uint16_t bits) {
    uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16, exponent = bits >> 10 & 31, mantissa = bits & 1023;
    if (exponent == 0) {
        float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    uint32_t result = sign | (exponent == 31 ? 255u : exponent + 112u) << 23 | mantissa << 13;
    float value;
    memcpy(&value, &result, 4);
    return value;
}

inline float bf16_to_float(uint16_t bits) {
    uint32_t result = static_cast<uint32_t>(bits) << 16;
    float value;
    memcpy(&value, &result, 4);
    return value;
}

inline float element_to_float(uint16_t bits, Element element) {
    return element == element_f16 ? f16_to_float(bits) : bf16_to_float(bits);
}

}  // namespace emulator
