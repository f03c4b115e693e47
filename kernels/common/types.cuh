// Storage types, and vectors of them. A kernel computes in float and stores as the launch says: it is
// compiled with e.g. -DX_TYPE=bf16, one macro an operand.
#pragma once
#include "common/intrinsics.cuh"

using f32 = float;
struct bf16 {
    unsigned short bits;
};
struct f16 {
    unsigned short bits;
};

DEVICE float to_float(f32 value) { return value; }
DEVICE float to_float(bf16 value) { return bf16_bits_to_float(value.bits); }
DEVICE float to_float(f16 value) { return f16_bits_to_float(value.bits); }

template <class T>
struct From;
template <>
struct From<f32> {
    DEVICE static f32 from(float value) { return value; }
};
template <>
struct From<bf16> {
    DEVICE static bf16 from(float value) { return bf16{float_to_bf16_bits(value)}; }
};
template <>
struct From<f16> {
    DEVICE static f16 from(float value) { return f16{float_to_f16_bits(value)}; }
};
// Rounds to nearest.
template <class T>
DEVICE T from_float(float value) {
    return From<T>::from(value);
}

// `count` elements that are read and written by one instruction of up to 16 bytes: the address must be
// a multiple of the size.
template <class T, int count>
struct alignas(sizeof(T) * count > 16 ? 16 : sizeof(T) * count) Pack {
    T at[count];
};

// Reads `count` elements as floats.
template <int count, class T>
DEVICE void load_pack(float (&into)[count], const T* from) {
    Pack<T, count> pack = *reinterpret_cast<const Pack<T, count>*>(from);
#pragma unroll
    for (int i = 0; i < count; i++) into[i] = to_float(pack.at[i]);
}

// The same in steps of `pack` elements, of which the address must be a multiple.
template <int count, int pack, class T>
DEVICE void load_packs(float (&into)[count], const T* from) {
    static_assert(count % pack == 0, "the steps must cover the elements");
#pragma unroll
    for (int i = 0; i < count; i += pack) {
        float part[pack];
        load_pack(part, from + i);
#pragma unroll
        for (int j = 0; j < pack; j++) into[i + j] = part[j];
    }
}

// Writes `count` floats, rounded.
template <int count, class T>
DEVICE void store_pack(T* to, const float (&from)[count]) {
    Pack<T, count> pack;
#pragma unroll
    for (int i = 0; i < count; i++) pack.at[i] = from_float<T>(from[i]);
    *reinterpret_cast<Pack<T, count>*>(to) = pack;
}

// The same in steps of `pack` elements.
template <int count, int pack, class T>
DEVICE void store_packs(T* to, const float (&from)[count]) {
    static_assert(count % pack == 0, "the steps must cover the elements");
#pragma unroll
    for (int i = 0; i < count; i += pack) {
        float part[pack];
#pragma unroll
        for (int j = 0; j < pack; j++) part[j] = from[i + j];
        store_pack(to + i, part);
    }
}
