// How a kernel says that its data are impossible (an index outside of a map): one word for the step, of which
// row and what number, which the session reads with the outputs. `runtime::cuda::DataError` reads it back; a test
// holds the two lists together.
#pragma once
#include "common/intrinsics.cuh"

enum DataError : unsigned {
    DATA_ERROR_NONE,
    DATA_ERROR_INDEX,         // an index that is no whole number, or outside of what it points into
    DATA_ERROR_CLASS,         // a label that is no whole number, or none of the classes
    DATA_ERROR_STEP,          // a step count below 1
    DATA_ERROR_MATCH_USED,    // a row of a match table that is neither used nor unused
    DATA_ERROR_MATCH_IMAGE,   // … whose image is no index, or outside of the batch
    DATA_ERROR_MATCH_Y,       // … whose row of cells is no index, or outside of the map
    DATA_ERROR_MATCH_X,       // … whose column of cells is no index, or outside of the map
    DATA_ERROR_MATCH_ANCHOR,  // … whose anchor is no index, or none of the level's
    DATA_ERROR_MATCH_CLASS,   // … whose class is no index, or none of the classes
    DATA_ERROR_MATCH_BOX,     // … whose box is not finite, or has no area
};

// The row of an error that is about none, or about one past what the word can hold.
constexpr unsigned data_error_no_row = 0xffffffu;

using StatusWord = unsigned long long;

// The word has the bits of the number in its low half, in the high one the code in the low 8 bits and above them
// how far the row is from 2²⁴ − 1. The largest word stays, so the lowest row is named, whatever the order in which
// threads come.
DEVICE void report_data_error(StatusWord* status, DataError code, float number, unsigned row = data_error_no_row) {
    unsigned held = row < data_error_no_row ? row : data_error_no_row;
    unsigned what = (data_error_no_row - held) << 8 | static_cast<unsigned>(code);
    atomicMax(status, static_cast<StatusWord>(what) << 32 | __float_as_uint(number));
}
