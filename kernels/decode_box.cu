// The boxes that the logits of matched rows stand for, and the gradient. With s = σ(t) and (x, y) the
// match's cell:
//
//   centre = (2s − ½ + cell)·stride     d = 2·s(1 − s)·stride·dy
//   side   = (2s)²·anchor's side        d = 8·s²(1 − s)·anchor's side·dy
//
// Reads the table (40 bytes a row) and 4 logits a match, writes 4 numbers a row: zeros where a row is
// unused. A thread a row, blocks of 128. About 60 FLOPs a row. Deterministic.
// ANCHOR_WIDTHS and ANCHOR_HEIGHTS list the ANCHORS boxes of the level.
#include "common/matches.cuh"
#include "common/numeric.cuh"

constexpr int threads = 128;

// Width and height of an anchor; a chain of choices, since registers cannot be indexed.
DEVICE void anchor_sides(int anchor, float (&sides)[2]) {
    constexpr float widths[] = {ANCHOR_WIDTHS};
    constexpr float heights[] = {ANCHOR_HEIGHTS};
    sides[0] = sides[1] = 0.0f;
#pragma unroll
    for (int i = 0; i < ANCHORS; i++) {
        if (anchor == i) {
            sides[0] = widths[i];
            sides[1] = heights[i];
        }
    }
}

DEVICE MatchLimits anchor_limits() {
    MatchLimits limits;
    limits.anchors = ANCHORS;
    return limits;
}

#ifndef DY_TYPE
extern "C" __global__ void __launch_bounds__(threads)
    decode_box_forward(const X_TYPE* __restrict__ x, const float* __restrict__ table, int capacity, float stride,
                       Y_TYPE* __restrict__ y, StatusWord* status) {
    int row = blockIdx.x * threads + threadIdx.x;
    if (row >= capacity) return;
    Match match;
    float box[4] = {};
    if (read_match(table, row, anchor_limits(), status, match)) {
        float t[4], sides[2];
        load_packs<4, X_PACK>(t, x + static_cast<size_t>(row) * X_STRIDE);
        anchor_sides(static_cast<int>(match.anchor), sides);
        const float cell[2] = {match.x, match.y};
#pragma unroll
        for (int axis = 0; axis < 2; axis++) {
            box[axis] = (2.0f * sigmoid_and_rest(t[axis]).value - 0.5f + cell[axis]) * stride;
            float ratio = 2.0f * sigmoid_and_rest(t[2 + axis]).value;
            box[2 + axis] = ratio * ratio * sides[axis];
        }
    }
    store_packs<4, Y_PACK>(y + static_cast<size_t>(row) * Y_STRIDE, box);
}
#else
extern "C" __global__ void __launch_bounds__(threads)
    decode_box_gradient(const X_TYPE* __restrict__ x, const float* __restrict__ table, const DY_TYPE* __restrict__ dy,
                        int capacity, float stride, Y_TYPE* __restrict__ dx, StatusWord* status) {
    int row = blockIdx.x * threads + threadIdx.x;
    if (row >= capacity) return;
    Match match;
    float gradient[4] = {};
    if (read_match(table, row, anchor_limits(), status, match)) {
        float t[4], from[4], sides[2];
        load_packs<4, X_PACK>(t, x + static_cast<size_t>(row) * X_STRIDE);
        load_packs<4, DY_PACK>(from, dy + static_cast<size_t>(row) * DY_STRIDE);
        anchor_sides(static_cast<int>(match.anchor), sides);
#pragma unroll
        for (int axis = 0; axis < 2; axis++) {
            Sigmoid center = sigmoid_and_rest(t[axis]), side = sigmoid_and_rest(t[2 + axis]);
            gradient[axis] = from[axis] * 2.0f * center.value * center.rest * stride;
            gradient[2 + axis] = from[2 + axis] * 8.0f * side.value * side.value * side.rest * sides[axis];
        }
    }
    store_packs<4, Y_PACK>(dx + static_cast<size_t>(row) * Y_STRIDE, gradient);
}
#endif
