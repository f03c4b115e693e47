// Zeros over a map, and over a few words of workspace: what comes before a kernel that writes here and
// there into it.
//
// Writes the map once, in packs of up to 16 bytes, and nothing between its pixels; reads nothing. A thread
// a pack (and a word), blocks of 256. A dense map is handed over as one channel (CHANNELS = Y_STRIDE = 1):
// packs cross its pixels. Deterministic.
#include "common/types.cuh"

constexpr int threads = 256;

extern "C" __global__ void __launch_bounds__(threads)
    clear(Y_TYPE* __restrict__ y, int elements, unsigned* __restrict__ words, int word_count) {
    static_assert(CHANNELS % PACK == 0 || CHANNELS == Y_STRIDE, "only a dense map is cut across pixels");
    int thread = blockIdx.x * threads + threadIdx.x;
    if (thread < word_count) words[thread] = 0;
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
