// How a kernel says that its data are impossible (an index outside of a map): a code in the step's
// status word, which the session reads with the outputs. The codes are those of `runtime::cuda::DataError`.
#pragma once

enum DataError : unsigned {
    DATA_ERROR_NONE,
    DATA_ERROR_INDEX,  // an index that is no whole number, or outside of what it points into
    DATA_ERROR_CLASS,  // a class that is no whole number, or outside of the classes
    DATA_ERROR_STEP,   // a step number below 1
    DATA_ERROR_MATCH,  // a row of a match table that no assignment writes
};

// The first code to come stays. Which one that is may depend on the schedule where several kinds of
// damage meet in one step; whether the step fails does not.
DEVICE void report_data_error(unsigned* status, DataError code) { atomicCAS(status, 0u, static_cast<unsigned>(code)); }
