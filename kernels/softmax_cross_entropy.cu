// The mean over rows of log Σ exp(z − max z) + max z − z[label], and its gradient.
//
// A warp a row, blocks of 8 rows. The row is read once from memory and once (twice for the gradient)
// more from the cache: its maximum, its sum, its output. About 30 FLOPs a logit.
// softmax_cross_entropy_forward: reads the logits; leaves the block's sum, times `scale`, in
//   `sums[block]`.
// softmax_cross_entropy_gradient: dx = (softmax(z) − onehot(label))·dy·scale; reads and writes every
//   logit, in place where the launch says so (each lane writes only what it alone reads).
// A label that is no class is reported; its row counts as 0.
// Deterministic: fixed order, trees over lanes and over the rows of a block.
#include "common/block_sum.cuh"
#include "common/status.cuh"
#include "common/types.cuh"

constexpr int threads = 256;
constexpr int rows_per_block = threads / 32;

// The row's class, or −1 after a report.
DEVICE int read_label(const float* labels, int row, StatusWord* status) {
    float label = labels[static_cast<size_t>(row) * LABEL_STRIDE];
    // Not the other way around, so that NaN is refused.
    if (label >= 0.0f && label < static_cast<float>(CHANNELS) && truncf(label) == label) return static_cast<int>(label);
    if (threadIdx.x % 32 == 0) report_data_error(status, DATA_ERROR_CLASS, label, static_cast<unsigned>(row));
    return -1;
}

// The largest logit, in every lane. A NaN needs no care here: it makes the sum NaN.
DEVICE float row_maximum(const X_TYPE* z) {
    float maximum = -__int_as_float(0x7f800000);
    for (int c = threadIdx.x % 32 * PACK; c < CHANNELS; c += 32 * PACK) {
        float values[PACK];
        load_pack(values, z + c);
#pragma unroll
        for (int j = 0; j < PACK; j++) maximum = fmaxf(maximum, values[j]);
    }
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) maximum = fmaxf(maximum, __shfl_xor_sync(~0u, maximum, lanes));
    return maximum;
}

// Σ exp(z − maximum), in every lane.
DEVICE float row_sum(const X_TYPE* z, float maximum) {
    float sum = 0.0f;
    for (int c = threadIdx.x % 32 * PACK; c < CHANNELS; c += 32 * PACK) {
        float values[PACK];
        load_pack(values, z + c);
#pragma unroll
        for (int j = 0; j < PACK; j++) sum += fast_exp(values[j] - maximum);
    }
    return warp_sum(sum);
}

#ifndef Y_TYPE
extern "C" __global__ void __launch_bounds__(threads)
    softmax_cross_entropy_forward(const X_TYPE* __restrict__ x, const float* __restrict__ labels, int rows, float scale,
                                  float* __restrict__ sums, StatusWord* status) {
    SHARED_ARRAY(float, losses, rows_per_block);
    int row = blockIdx.x * rows_per_block + threadIdx.x / 32;
    float loss = 0.0f;
    if (row < rows) {
        const X_TYPE* z = x + static_cast<size_t>(row) * X_STRIDE;
        int label = read_label(labels, row, status);
        float maximum = row_maximum(z);
        float sum = row_sum(z, maximum);
        if (label >= 0) loss = logf(sum) + (maximum - to_float(z[label]));
    }
    if (threadIdx.x % 32 == 0) losses[threadIdx.x / 32] = loss;
    __syncthreads();
    if (threadIdx.x >= 32) return;
    float sum = warp_sum(threadIdx.x < rows_per_block ? losses[threadIdx.x] : 0.0f);
    if (threadIdx.x == 0) sums[blockIdx.x] = scale * sum;
}
#else
extern "C" __global__ void __launch_bounds__(threads)
    softmax_cross_entropy_gradient(const X_TYPE* x, const float* __restrict__ labels, const float* __restrict__ dy,
                                   int rows, float scale, Y_TYPE* dx, StatusWord* status) {
    int row = blockIdx.x * rows_per_block + threadIdx.x / 32;
    if (row >= rows) return;
    const X_TYPE* z = x + static_cast<size_t>(row) * X_STRIDE;
    Y_TYPE* to = dx + static_cast<size_t>(row) * Y_STRIDE;
    int label = read_label(labels, row, status);
    float maximum = row_maximum(z);
    float share = 1.0f / row_sum(z, maximum);
    scale = label >= 0 ? scale * *dy : 0.0f;
    for (int c = threadIdx.x % 32 * PACK; c < CHANNELS; c += 32 * PACK) {
        float values[PACK];
        load_pack(values, z + c);
#pragma unroll
        for (int j = 0; j < PACK; j++)
            values[j] = (fast_exp(values[j] - maximum) * share - (c + j == label ? 1.0f : 0.0f)) * scale;
        store_pack(to + c, values);
    }
}
#endif
