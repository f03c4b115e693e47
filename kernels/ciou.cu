// Complete IoU of boxes with the targets of their matches, and its gradient (src/ops/ciou has the
// equations).
//
// Reads the table (40 bytes a row), a box of 4 and, for the gradient, one number a match; writes 1 or 4
// numbers a row, zeros where a row is unused. A thread a row.
// In f64, as on the host: near a perfect box 1 − IoU and the differences of edges lose their digits in
// f32, and a box that underflowed still has a gradient. Some 300 (600) FLOPs a row and thousands of rows
// are microseconds where f64 runs at 1/64 of f32 too; blocks of one warp spread the rows over the
// multiprocessors. Deterministic.
#include "common/matches.cuh"

constexpr int threads = 32;
constexpr double epsilon = EPSILON;
constexpr double pi = 3.14159265358979323846;

// What CIoU is made of, for a box and its target (centre x, centre y, width, height).
struct Terms {
    double low[2], high[2], target_low[2], target_high[2];
    // The overlap of the two along x and y, negative where they are apart; the sides of the box that
    // encloses both.
    double overlap[2], enclosing[2];
    double intersection, union_area;
    // ρ² and c².
    double distance, diagonal;
    // atan(w_target/h_target) − atan(w/h), and v.
    double angle, v;
    double alpha_denominator;
};

DEVICE Terms terms(const double (&b)[4], const double (&target)[4]) {
    Terms t;
#pragma unroll
    for (int axis = 0; axis < 2; axis++) {
        t.low[axis] = b[axis] - 0.5 * b[2 + axis];
        t.high[axis] = b[axis] + 0.5 * b[2 + axis];
        t.target_low[axis] = target[axis] - 0.5 * target[2 + axis];
        t.target_high[axis] = target[axis] + 0.5 * target[2 + axis];
        t.overlap[axis] = fmin(t.high[axis], t.target_high[axis]) - fmax(t.low[axis], t.target_low[axis]);
        t.enclosing[axis] = fmax(t.high[axis], t.target_high[axis]) - fmin(t.low[axis], t.target_low[axis]);
    }
    t.intersection = fmax(t.overlap[0], 0.0) * fmax(t.overlap[1], 0.0);
    t.union_area = b[2] * b[3] + target[2] * target[3] - t.intersection + epsilon;
    double dx = target[0] - b[0], dy = target[1] - b[1];
    t.distance = dx * dx + dy * dy;
    t.diagonal = t.enclosing[0] * t.enclosing[0] + t.enclosing[1] * t.enclosing[1] + epsilon;
    // atan2 is atan(w/h) for h > 0, and 0 for a box that underflowed to nothing.
    t.angle = atan2(target[2], target[3]) - atan2(b[2], b[3]);
    t.v = 4.0 / (pi * pi) * t.angle * t.angle;
    t.alpha_denominator = t.v - t.intersection / t.union_area + 1.0 + epsilon;
    return t;
}

// 1 where a < b, ½ where they are equal, else 0.
DEVICE double is_less(double a, double b) { return a < b ? 1.0 : (a == b ? 0.5 : 0.0); }

DEVICE void read_box(double (&box)[4], const X_TYPE* x, int row) {
    float narrow[4];
    load_packs<4, X_PACK>(narrow, x + static_cast<size_t>(row) * X_STRIDE);
#pragma unroll
    for (int i = 0; i < 4; i++) box[i] = narrow[i];
}

#ifndef DY_TYPE
extern "C" __global__ void __launch_bounds__(threads)
    ciou_forward(const X_TYPE* __restrict__ x, const float* __restrict__ table, int capacity, Y_TYPE* __restrict__ y,
                 StatusWord* status) {
    int row = blockIdx.x * threads + threadIdx.x;
    if (row >= capacity) return;
    Match match;
    float value = 0.0f;
    if (read_match(table, row, MatchLimits{}, status, match)) {
        double b[4];
        read_box(b, x, row);
        const double target[4] = {match.target[0], match.target[1], match.target[2], match.target[3]};
        Terms t = terms(b, target);
        value = static_cast<float>(t.intersection / t.union_area - t.distance / t.diagonal -
                                   t.v * t.v / t.alpha_denominator);
    }
    y[static_cast<size_t>(row) * Y_STRIDE] = from_float<Y_TYPE>(value);
}
#else
// DETACH_ALPHA: α is taken for a constant.
extern "C" __global__ void __launch_bounds__(threads)
    ciou_gradient(const X_TYPE* __restrict__ x, const float* __restrict__ table, const DY_TYPE* __restrict__ dy,
                  int capacity, Y_TYPE* __restrict__ dx, StatusWord* status) {
    int row = blockIdx.x * threads + threadIdx.x;
    if (row >= capacity) return;
    Match match;
    float gradient[4] = {};
    if (read_match(table, row, MatchLimits{}, status, match)) {
        double b[4];
        read_box(b, x, row);
        const double target[4] = {match.target[0], match.target[1], match.target[2], match.target[3]};
        Terms t = terms(b, target);
        double scale = to_float(dy[static_cast<size_t>(row) * DY_STRIDE]);
        double alpha = t.v / t.alpha_denominator;
        // A box of nothing has no direction.
        double square = fmax(b[2] * b[2] + b[3] * b[3], 2.2250738585072014e-308);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            // Derivatives with respect to b[i], which moves the edges of one axis.
            const int axis = i % 2;
            const bool is_side = i >= 2;
            // How much of each edge of the box bounds the overlap; the rest bounds the enclosing box.
            double low_inside = is_less(t.target_low[axis], t.low[axis]);
            double high_inside = is_less(t.high[axis], t.target_high[axis]);
            double d_low = is_side ? -0.5 : 1.0, d_high = is_side ? 0.5 : 1.0;
            double d_overlap = high_inside * d_high - low_inside * d_low;
            double d_enclosing = (1.0 - high_inside) * d_high - (1.0 - low_inside) * d_low;

            double d_intersection = t.overlap[axis] > 0.0 ? d_overlap * fmax(t.overlap[1 - axis], 0.0) : 0.0;
            double d_area = is_side ? b[3 - axis] : 0.0;
            double d_union = d_area - d_intersection;
            double d_iou = (d_intersection * t.union_area - t.intersection * d_union) / (t.union_area * t.union_area);

            double d_distance = is_side ? 0.0 : -2.0 * (target[axis] - b[axis]);
            double d_diagonal = 2.0 * t.enclosing[axis] * d_enclosing;
            double d_penalty = (d_distance * t.diagonal - t.distance * d_diagonal) / (t.diagonal * t.diagonal);

            // d atan(w/h) = (h·dw − w·dh) / (w² + h²).
            double d_atan = is_side ? (axis == 0 ? b[3] : -b[2]) / square : 0.0;
            double d_v = -8.0 / (pi * pi) * t.angle * d_atan;
            double d_alpha = DETACH_ALPHA ? 0.0 : (d_v - alpha * (d_v - d_iou)) / t.alpha_denominator;
            gradient[i] = static_cast<float>((d_iou - d_penalty - alpha * d_v - t.v * d_alpha) * scale);
        }
    }
    store_packs<4, Y_PACK>(dx + static_cast<size_t>(row) * Y_STRIDE, gradient);
}
#endif
