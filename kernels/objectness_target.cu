// The objectness target: for every match base + ratio·max(0, value) at its anchor of its cell, the
// largest where several meet, 0 everywhere else.
//
// clear.cu wrote the zeros; here a thread a row reads the table (40 bytes a row) and a value a match, and
// writes 4 bytes a match. Deterministic: a maximum does not depend on its order.
#include "common/matches.cuh"

constexpr int threads = 256;

extern "C" __global__ void __launch_bounds__(threads)
    objectness_target(const X_TYPE* __restrict__ x, const float* __restrict__ table, int capacity, int images,
                      int height, int width, int anchors, float base, float ratio, float* y, StatusWord* status) {
    int row = blockIdx.x * threads + threadIdx.x;
    if (row >= capacity) return;
    MatchLimits limits;
    limits.images = static_cast<float>(images);
    limits.height = static_cast<float>(height);
    limits.width = static_cast<float>(width);
    limits.anchors = static_cast<float>(anchors);
    Match match;
    if (!read_match(table, row, limits, status, match)) return;
    float target = base + ratio * fmaxf(to_float(x[static_cast<size_t>(row) * X_STRIDE]), 0.0f);
    int cell = (static_cast<int>(match.image) * height + static_cast<int>(match.y)) * width + static_cast<int>(match.x);
    float* to = y + static_cast<size_t>(cell) * Y_STRIDE + static_cast<int>(match.anchor);
    // Of numbers that are not negative the larger one has the larger bits.
    if (target > 0.0f) atomicMax(reinterpret_cast<unsigned*>(to), __float_as_uint(target));
}
