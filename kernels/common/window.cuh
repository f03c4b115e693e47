// Pooling windows along one dimension. Window `index` covers `kernel` places from index·stride − before; what lies
// outside of 0..length counts for nothing. Maxima follow the op's rule: the first of equals, the last of NaNs.
#pragma once
#include "common/map.cuh"

struct Range {
    int first, end;
};

// What of window `index` lies inside; never empty, which the op's shape rule sees to.
DEVICE Range window_of(int index, int stride, int kernel, int before, int length) {
    int start = index * stride - before;
    return {max(start, 0), min(start + kernel, length)};
}

// The windows, of `count`, that cover `place`; may be empty.
DEVICE Range windows_over(int place, int stride, int kernel, int before, int count) {
    int reach = place + before;
    int first = reach < kernel ? 0 : (reach - kernel) / stride + 1;
    return {first, min(reach / stride + 1, count)};
}

// Whether `value`, which comes after `best`, is the maximum of the two.
DEVICE bool replaces(float value, float best) { return value > best || value != value; }

// Infinity; there is no header to have it from.
#define INFINITY_F32 __int_as_float(0x7f800000)

// A pack of places, each below 2¹⁶ (the op refuses longer maps).
template <int count>
DEVICE void load_indices(int (&into)[count], const unsigned short* from) {
    auto pack = *reinterpret_cast<const Pack<unsigned short, count>*>(from);
#pragma unroll
    for (int i = 0; i < count; i++) into[i] = pack.at[i];
}
template <int count>
DEVICE void store_indices(unsigned short* to, const int (&from)[count]) {
    Pack<unsigned short, count> pack;
#pragma unroll
    for (int i = 0; i < count; i++) pack.at[i] = static_cast<unsigned short>(from[i]);
    *reinterpret_cast<Pack<unsigned short, count>*>(to) = pack;
}
