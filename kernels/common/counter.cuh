// An index of three digits, of which the lower two have a radix, as a pixel is (image, row, column): it is
// split by division once, and then advanced by additions and carries.
#pragma once
#include "common/intrinsics.cuh"

struct Counter {
    int high, middle, low;
};

DEVICE Counter count_from(int value, int middle_radix, int low_radix) {
    int rows = value / low_radix;
    return Counter{rows / middle_radix, rows % middle_radix, value % low_radix};
}

// counter += step; both have digits below their radix.
DEVICE void advance(Counter& counter, const Counter& step, int middle_radix, int low_radix) {
    counter.low += step.low;
    int carry = counter.low >= low_radix ? 1 : 0;
    counter.low -= carry ? low_radix : 0;
    counter.middle += step.middle + carry;
    carry = counter.middle >= middle_radix ? 1 : 0;
    counter.middle -= carry ? middle_radix : 0;
    counter.high += step.high + carry;
}
