// The input gradient of a strided convolution, by phases: the input rows y ≡ phase (mod stride) are reached by
// the same taps, every `step`-th from a first one, and by no other. Along one axis, input y = phase + stride · j
// gets from its i-th tap, ky = first + step · i, the output row j + offset − i · shift. So a phase is a
// convolution of stride 1 with fewer taps, and nothing is multiplied by a zero that stride put there.
#pragma once
#include "common/intrinsics.cuh"

DEVICE constexpr int greatest_common_divisor(int a, int b) { return b == 0 ? a : greatest_common_divisor(b, a % b); }

// One axis of a convolution.
template <int kernel, int stride, int padding, int dilation>
struct PhaseAxis {
    static constexpr int STEP = stride / greatest_common_divisor(stride, dilation);
    static constexpr int SHIFT = STEP * dilation / stride;
    static constexpr int MOST_TAPS = (kernel + STEP - 1) / STEP;

    int first, taps;  // the taps first, first + STEP …; none where the phase has no tap
    int offset;       // the output of input j's first tap, less j
    int length;       // how many inputs the phase has

    DEVICE PhaseAxis(int phase, int inputs) : first(0), taps(0), offset(0), length(0) {
        if (phase < inputs) length = (inputs - phase + stride - 1) / stride;
        // The first candidates are within one step, and no two of them are of the same phase.
        constexpr int CANDIDATES = STEP < kernel ? STEP : kernel;
#pragma unroll 1
        for (int tap = 0; tap < CANDIDATES; tap++) {
            int distance = phase + padding - tap * dilation;
            if (distance % stride == 0) {
                first = tap;
                taps = (kernel - tap + STEP - 1) / STEP;
                offset = distance / stride;
            }
        }
    }
};
