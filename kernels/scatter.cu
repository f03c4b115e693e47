// The gradient of a gather: rows of a match table are added into a map that is zero elsewhere. Several
// rows may name the same anchor of the same cell; they are added in the order of the table.
//
// The zeros are the work: a head's map has megabytes, its matches kilobytes. Three launches:
// scatter_clear: zeros over the map, in packs (its bytes, once: the floor), and over the marks.
// scatter_mark: a thread a row. Checks the row, leaves its destination (its *key*: pixel·anchors + anchor,
//   −1 for an unused row), and marks keys that were met: once in `seen`, again in `repeated`, a bit each.
//   Integer atomics, whose result does not depend on their order.
// scatter_add: a warp a row. A row whose key is not repeated is written as it is. Where it is repeated,
//   the warp reads the keys of the table, 32 at a time; the first row of the key adds all of them, the
//   others leave. So duplicates cost 4 bytes a row of the table each, and rows without any cost nothing.
// Deterministic: one warp writes each destination, in the order of the table, summed in f32.
//
// Marks: `words` words seen, `words` words repeated, and how many rows there are up to the last match.
#include "common/matches.cuh"

constexpr int threads = 256;

// Where the map is dense (Y_STRIDE = CHANNELS) a pack may cross pixels.
extern "C" __global__ void __launch_bounds__(threads)
    scatter_clear(Y_TYPE* __restrict__ y, int elements, unsigned* __restrict__ marks, int words) {
    static_assert(CHANNELS % PACK == 0 || Y_STRIDE == CHANNELS, "only a dense map is cut across pixels");
    int thread = blockIdx.x * threads + threadIdx.x;
    if (thread < 2 * words + 1) marks[thread] = 0;
    int first = thread * PACK;
    if (first >= elements) return;
    Y_TYPE* to = y + static_cast<size_t>(first / CHANNELS) * Y_STRIDE + first % CHANNELS;
    const float zeros[PACK] = {};
    if (first + PACK <= elements) {
        store_pack(to, zeros);
    } else {
        for (int j = 0; first + j < elements; j++) to[j] = from_float<Y_TYPE>(0.0f);
    }
}

extern "C" __global__ void __launch_bounds__(threads)
    scatter_mark(const float* __restrict__ table, int capacity, int images, int height, int width,
                 int* __restrict__ keys, unsigned* __restrict__ marks, int words, unsigned* status) {
    constexpr int anchors = CHANNELS / COLUMNS;
    int row = blockIdx.x * threads + threadIdx.x;
    int key = -1;
    if (row < capacity) {
        MatchLimits limits;
        limits.images = static_cast<float>(images);
        limits.height = static_cast<float>(height);
        limits.width = static_cast<float>(width);
        limits.anchors = static_cast<float>(anchors);
        Match match;
        if (read_match(table, row, limits, status, match)) {
            int cell = (static_cast<int>(match.image) * height + static_cast<int>(match.y)) * width;
            key = (cell + static_cast<int>(match.x)) * anchors + static_cast<int>(match.anchor);
            unsigned bit = 1u << (key % 32);
            if (atomicOr(&marks[key / 32], bit) & bit) atomicOr(&marks[words + key / 32], bit);
        }
        keys[row] = key;
    }
    unsigned used = __ballot_sync(~0u, key >= 0);
    if (used != 0 && threadIdx.x % 32 == 0)
        atomicMax(&marks[2 * words], static_cast<unsigned>(row + 32 - __clz(static_cast<int>(used))));
}

// The columns that a warp adds at a time: a few registers a lane, whatever COLUMNS is.
constexpr int columns_per_lane = COLUMNS < 128 ? (COLUMNS + 31) / 32 : 4;

extern "C" __global__ void __launch_bounds__(threads)
    scatter_add(const X_TYPE* __restrict__ x, const int* __restrict__ keys, const unsigned* __restrict__ marks,
                int words, Y_TYPE* __restrict__ y) {
    constexpr int anchors = CHANNELS / COLUMNS;
    int row = blockIdx.x * (threads / 32) + threadIdx.x / 32;
    int lane = threadIdx.x % 32;
    int rows = static_cast<int>(marks[2 * words]);
    if (row >= rows) return;
    int key = keys[row];
    if (key < 0) return;
    Y_TYPE* to = y + static_cast<size_t>(key / anchors) * Y_STRIDE + key % anchors * COLUMNS;

    if (!(marks[words + key / 32] >> (key % 32) & 1u)) {
        for (int column = lane; column < COLUMNS; column += 32)
            to[column] = from_float<Y_TYPE>(to_float(x[static_cast<size_t>(row) * X_STRIDE + column]));
        return;
    }
    for (int begin = lane; begin < COLUMNS + lane; begin += 32 * columns_per_lane) {
        float sum[columns_per_lane] = {};
        bool is_first = true;
        for (int base = 0; base < rows; base += 32) {
            int other = base + lane < rows ? keys[base + lane] : -1;
            unsigned same = __ballot_sync(~0u, other == key);
            for (; same != 0; same &= same - 1) {
                int found = base + __ffs(static_cast<int>(same)) - 1;
                if (is_first && found != row) return;
                is_first = false;
                const X_TYPE* from = x + static_cast<size_t>(found) * X_STRIDE;
#pragma unroll
                for (int i = 0; i < columns_per_lane; i++)
                    if (begin + 32 * i < COLUMNS) sum[i] += to_float(from[begin + 32 * i]);
            }
        }
#pragma unroll
        for (int i = 0; i < columns_per_lane; i++)
            if (begin + 32 * i < COLUMNS) to[begin + 32 * i] = from_float<Y_TYPE>(sum[i]);
    }
}
