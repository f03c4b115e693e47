// The objectness target: for every match base + ratio·max(0, value) at its anchor of its cell, the
// largest where several meet, 0 everywhere else.
//
// objectness_target_clear: zeros over the target, a pack of up to 16 bytes a thread.
// objectness_target_mark: a thread a row; reads the table (40 bytes a row) and a value a match.
// Floor: the target's bytes once, and the table. Deterministic: a maximum does not depend on its order.
#include "common/matches.cuh"

constexpr int threads = 256;

// Where the target is dense (Y_STRIDE = ANCHORS) a pack may cross pixels.
extern "C" __global__ void __launch_bounds__(threads) objectness_target_clear(float* __restrict__ y, int elements) {
    static_assert(ANCHORS % PACK == 0 || Y_STRIDE == ANCHORS, "only a dense map is cut across pixels");
    int first = (blockIdx.x * threads + threadIdx.x) * PACK;
    if (first >= elements) return;
    float* to = y + static_cast<size_t>(first / ANCHORS) * Y_STRIDE + first % ANCHORS;
    const float zeros[PACK] = {};
    if (first + PACK <= elements) {
        store_pack(to, zeros);
    } else {
        for (int j = 0; first + j < elements; j++) to[j] = 0.0f;
    }
}

extern "C" __global__ void __launch_bounds__(threads)
    objectness_target_mark(const X_TYPE* __restrict__ x, const float* __restrict__ table, int capacity, int images,
                           int height, int width, float base, float ratio, float* y, unsigned* status) {
    int row = blockIdx.x * threads + threadIdx.x;
    if (row >= capacity) return;
    MatchLimits limits;
    limits.images = static_cast<float>(images);
    limits.height = static_cast<float>(height);
    limits.width = static_cast<float>(width);
    limits.anchors = ANCHORS;
    Match match;
    if (!read_match(table, row, limits, status, match)) return;
    float target = base + ratio * fmaxf(to_float(x[static_cast<size_t>(row) * X_STRIDE]), 0.0f);
    int cell = (static_cast<int>(match.image) * height + static_cast<int>(match.y)) * width + static_cast<int>(match.x);
    float* to = y + static_cast<size_t>(cell) * Y_STRIDE + static_cast<int>(match.anchor);
    // Of numbers that are not negative the larger one has the larger bits.
    if (target > 0.0f) atomicMax(reinterpret_cast<unsigned*>(to), __float_as_uint(target));
}
