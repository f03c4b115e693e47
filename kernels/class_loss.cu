// The class loss: the mean over matches and classes of the binary cross-entropy of a class's logit, and
// its gradient; 0 where there is no match. The target is `on` for the object's class, `off` for the
// others.
//
// class_loss_forward: reads the table (40 bytes a row) and the logits of matches; writes a sum and a
//   count a block, which match_mean.cu adds, or, where there is one block, the mean. LANES threads a row (the classes' next power
//   of two, at most 32), blocks of 256. 25 FLOPs a logit.
// class_loss_gradient: dx = (σ(z) − t)·dy/(matches·classes) for a match, 0 for an unused row. Reads
//   as the forward, writes every row; match_count.cu counted before.
// Deterministic: each block has a fixed set of rows, then a tree.
#include "common/block_sum.cuh"
#include "common/match_count.cuh"
#include "common/numeric.cuh"

constexpr int threads = 256;
constexpr int rows_per_block = threads / LANES;

DEVICE float class_target(int k, float cls, float on, float off) { return static_cast<float>(k) == cls ? on : off; }

DEVICE MatchLimits class_limits() {
    MatchLimits limits;
    limits.classes = CLASSES;
    return limits;
}

#ifndef Y_TYPE
extern "C" __global__ void __launch_bounds__(threads)
    class_loss_forward(const X_TYPE* __restrict__ x, const float* __restrict__ table, int capacity, float on,
                       float off, float* __restrict__ y, float* __restrict__ sums, int* __restrict__ counts,
                       StatusWord* status) {
    int lane = threadIdx.x % LANES;
    float sum = 0.0f;
    int count = 0;
    for (int row = blockIdx.x * rows_per_block + threadIdx.x / LANES; row < capacity;
         row += gridDim.x * rows_per_block) {
        Match match;
        if (!read_match(table, row, class_limits(), status, match)) continue;
        count += lane == 0;
        const X_TYPE* logits = x + static_cast<size_t>(row) * X_STRIDE;
        for (int k = lane; k < CLASSES; k += LANES)
            sum += binary_cross_entropy(to_float(logits[k]), class_target(k, match.cls, on, off));
    }
    leave_mean<threads>(sum, count, CLASSES, y, sums, counts);
}
#else
extern "C" __global__ void __launch_bounds__(threads)
    class_loss_gradient(const X_TYPE* __restrict__ x, const float* __restrict__ table,
                        const int* __restrict__ counts, const float* __restrict__ dy, int capacity, float on,
                        float off, Y_TYPE* __restrict__ dx, StatusWord* status) {
    float count = static_cast<float>(total_matches(counts, capacity)) * static_cast<float>(CLASSES);
    int row = blockIdx.x * rows_per_block + threadIdx.x / LANES;
    if (row >= capacity) return;
    Match match;
    bool used = read_match(table, row, class_limits(), status, match);
    float scale = used ? *dy / count : 0.0f;
    const X_TYPE* logits = x + static_cast<size_t>(row) * X_STRIDE;
    Y_TYPE* to = dx + static_cast<size_t>(row) * Y_STRIDE;
    for (int k = threadIdx.x % LANES; k < CLASSES; k += LANES) {
        float value = 0.0f;
        if (used)
            value = (sigmoid_and_rest(to_float(logits[k])).value - class_target(k, match.cls, on, off)) * scale;
        to[k] = from_float<Y_TYPE>(value);
    }
}
#endif
