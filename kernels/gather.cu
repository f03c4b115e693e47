// y[row] = the COLUMNS channels of a map that belong to the anchor of the cell that a match names; zeros
// for an unused row.
//
// Reads the table (40 bytes a row, by every lane of the row at once) and the rows' channels, which lie
// together but at no particular alignment; writes every row. No arithmetic. LANES threads a row (the
// columns' next power of two, at most 32), blocks of 256. Deterministic.
#include "common/matches.cuh"

constexpr int threads = 256;

extern "C" __global__ void __launch_bounds__(threads)
    gather(const X_TYPE* __restrict__ x, const float* __restrict__ table, int capacity, int images, int height,
           int width, int anchors, Y_TYPE* __restrict__ y, StatusWord* status) {
    int row = blockIdx.x * (threads / LANES) + threadIdx.x / LANES;
    if (row >= capacity) return;
    MatchLimits limits;
    limits.images = static_cast<float>(images);
    limits.height = static_cast<float>(height);
    limits.width = static_cast<float>(width);
    limits.anchors = static_cast<float>(anchors);
    Match match;
    bool used = read_match(table, row, limits, status, match);
    size_t from = 0;
    if (used) {
        size_t cell = (static_cast<size_t>(match.image) * height + static_cast<size_t>(match.y)) * width;
        from = (cell + static_cast<size_t>(match.x)) * X_STRIDE + static_cast<size_t>(match.anchor) * COLUMNS;
    }
    Y_TYPE* to = y + static_cast<size_t>(row) * Y_STRIDE;
    for (int column = threadIdx.x % LANES; column < COLUMNS; column += LANES)
        to[column] = from_float<Y_TYPE>(used ? to_float(x[from + column]) : 0.0f);
}
