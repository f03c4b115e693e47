// Where the rows of a match table go in a scatter, and which of them meet: what scatter.cu reads.
//
// A thread a row, blocks of 256. Checks the row (40 bytes) and leaves its *key*, pixel·anchors + anchor, −1
// for an unused row: 4 bytes. Marks the key as seen, and as repeated where it was seen before, a bit each
// in `words` words and the `words` after them; the word behind those becomes the number of rows up to the
// last match. All were 0. Integer atomics whose result does not depend on their order: deterministic.
#include "common/matches.cuh"

constexpr int threads = 256;

extern "C" __global__ void __launch_bounds__(threads)
    scatter_mark(const float* __restrict__ table, int capacity, int images, int height, int width, int anchors,
                 int* __restrict__ keys, unsigned* __restrict__ marks, int words, StatusWord* status) {
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
