// Nearest-neighbour upsampling: y[n, i, j, c] = x[n, i / FACTOR, j / FACTOR, c].
//
// Writes y once and reads x once from memory (the floor), FACTOR² times from the cache. A thread a pack of y; h and w
// are those of y.
#include "common/map.cuh"

extern "C" __global__ void __launch_bounds__(256)
    upsample(Y_TYPE* y, int y_stride, int pixels, const X_TYPE* x, int x_stride, int h, int w) {
    Place at;
    if (!find_place<CHANNELS, PACK>(at, pixels)) return;
    Position to = position_of(at.pixel, h, w);
    int from = (to.image * (h / FACTOR) + to.y / FACTOR) * (w / FACTOR) + to.x / FACTOR;
    float v[PACK];
    load_pack(v, x + element(from, x_stride, at.channel));
    store_pack(y + element(at.pixel, y_stride, at.channel), v);
}
