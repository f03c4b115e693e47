// How threads are laid over maps [n, h, w, c] that lie in channel slices. An operand is the address of
// its first element and a pixel stride: elements from one pixel to the next. Channels are read and
// written in packs of up to 16 bytes, adjacent threads on adjacent packs of a pixel, then of the next.
// `ops::grid` describes the launches.
#pragma once
#include "common/types.cuh"

// Elements from a map's first to `channel` of `pixel`.
DEVICE long long element(int pixel, int stride, int channel) {
    return static_cast<long long>(pixel) * stride + channel;
}

// ---- a thread a pack: elementwise kernels --------------------------------------------------------

struct Place {
    int pixel;
    int channel;
};

// This thread's pack of a map of `channels`; false where there is none.
template <int channels, int pack>
DEVICE bool find_place(Place& place, int pixels) {
    constexpr unsigned packs = channels / pack;
    unsigned index = blockIdx.x * blockDim.x + threadIdx.x;
    unsigned pixel = index / packs;
    place.pixel = static_cast<int>(pixel);
    place.channel = static_cast<int>((index - pixel * packs) * pack);
    return pixel < static_cast<unsigned>(pixels);
}

// Where pixel `pixel` of maps of h × w lies.
struct Position {
    int image, y, x;
};
DEVICE Position position_of(int pixel, int h, int w) {
    unsigned row = static_cast<unsigned>(pixel) / w;
    unsigned image = row / h;
    return {static_cast<int>(image), static_cast<int>(row - image * h), static_cast<int>(pixel - row * w)};
}

// ---- a thread a pack of every `rows`-th pixel: reductions, and what has parameters a channel ------

// A block of columns × rows threads: `columns` packs side by side of `rows` pixels. blockIdx.y counts
// the groups of columns, so that a thread keeps its channels while it walks over pixels.
struct Column {
    int row, column, channel;
};
template <int columns, int pack>
DEVICE Column find_column() {
    int row = threadIdx.x / columns;
    int column = threadIdx.x - row * columns;
    return {row, column, static_cast<int>((blockIdx.y * columns + column) * pack)};
}

// ---- packs ---------------------------------------------------------------------------------------

// Reads the pack at `channel` of a pixel with `channels` channels, fewer than the threads walk over: what
// lies outside of them counts as 0 and is not touched.
template <int channels, int count, class T>
DEVICE void load_pack_within(float (&into)[count], const T* pixel, int channel) {
    if (channel >= 0 && channel + count <= channels) {
        load_pack(into, pixel + channel);
        return;
    }
#pragma unroll
    for (int i = 0; i < count; i++) {
        bool inside = channels % count != 0 && channel >= 0 && channel + i < channels;
        into[i] = inside ? to_float(pixel[channel + i]) : 0.0f;
    }
}
