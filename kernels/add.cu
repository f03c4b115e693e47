// y = a, with b added to the ADDED channels from OFFSET, or to all (WHOLE): the residual add, whole, masked (PRN's F(x) + m ⊙ x) and
// asymmetric, and the sum where gradients meet.
//
// In place (y over a) the launch walks over b's channels only, and the mask saves their share of the bytes: it reads
// a and b and writes y there. Otherwise it reads a whole, b once, and writes y whole. A thread a pack. No sum of
// more than two: any order of threads gives the same bits.
#include "common/map.cuh"

extern "C" __global__ void __launch_bounds__(256) add(const A_TYPE* a, int a_stride, Y_TYPE* y, int y_stride,
                                                      const B_TYPE* b, int b_stride, int pixels) {
    Place at;
    if (!find_place<CHANNELS, PACK>(at, pixels)) return;
    float sum[PACK], added[PACK];
    load_pack(sum, a + element(at.pixel, a_stride, at.channel));
#if WHOLE
    load_pack(added, b + element(at.pixel, b_stride, at.channel));
#else
    load_pack_within<ADDED>(added, b + element(at.pixel, b_stride, 0), at.channel - OFFSET);
#endif
#pragma unroll
    for (int i = 0; i < PACK; i++) sum[i] += added[i];
    store_pack(y + element(at.pixel, y_stride, at.channel), sum);
}
