// y = x: what could not be written where it is wanted. Channel slices on both sides, so the same kernel copies a
// part into a concat and a slice out of a map; it converts where the storage types differ.
//
// Reads x once and writes y once. A thread a pack.
#include "common/map.cuh"

extern "C" __global__ void __launch_bounds__(256) copy(const X_TYPE* x, int x_stride, Y_TYPE* y, int y_stride,
                                                       int pixels) {
    Place at;
    if (!find_place<CHANNELS, PACK>(at, pixels)) return;
    float v[PACK];
    load_pack(v, x + element(at.pixel, x_stride, at.channel));
    store_pack(y + element(at.pixel, y_stride, at.channel), v);
}
