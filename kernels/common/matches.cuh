// Match tables (src/ops/matches.rs): one row of 10 numbers for each match of an object with an anchor of
// a cell; rows that are not used have 0 in their first column, may lie anywhere, and give zeros. The
// launch defines TABLE_STRIDE, elements from row to row, and TABLE_PACK, elements that one instruction
// can read.
#pragma once
#include "common/status.cuh"
#include "common/types.cuh"

enum MatchColumn {
    MATCH_VALID,
    MATCH_IMAGE,
    MATCH_Y,
    MATCH_X,
    MATCH_ANCHOR,
    MATCH_CLASS,
    MATCH_CENTER_X,
    MATCH_CENTER_Y,
    MATCH_WIDTH,
    MATCH_HEIGHT,
    MATCH_COLUMNS,
};

// What the indices of a row must stay below, as far as an op uses them. Without a limit an index is held
// below 2⁶⁴, as the host's are.
struct MatchLimits {
    float images = 18446744073709551616.0f;
    float height = 18446744073709551616.0f;
    float width = 18446744073709551616.0f;
    float anchors = 18446744073709551616.0f;
    float classes = 18446744073709551616.0f;
};

struct Match {
    // Indices, whole numbers below their limits; to be converted only where there is one.
    float image, y, x, anchor, cls;
    // Centre x, centre y, width, height, in pixels of the network's input.
    float target[4];
};

// Whether the row is used; reads one number, and checks none.
DEVICE bool is_match(const float* table, int row) {
    return table[static_cast<size_t>(row) * TABLE_STRIDE + MATCH_VALID] != 0.0f;
}

DEVICE bool is_index(float value, float limit) { return value >= 0.0f && value < limit && truncf(value) == value; }

// Reads a row. False where it is not used, and where it is impossible, which is reported.
DEVICE bool read_match(const float* table, int row, const MatchLimits& limits, StatusWord* status, Match& match) {
    const float* from = table + static_cast<size_t>(row) * TABLE_STRIDE;
    if (from[MATCH_VALID] == 0.0f) return false;
    float at[MATCH_COLUMNS];
    load_packs<MATCH_COLUMNS, TABLE_PACK>(at, from);
    DataError error = DATA_ERROR_NONE;
    float number = 0.0f;
    auto refuse_unless = [&](bool is_possible, DataError code, MatchColumn column) {
        if (!is_possible) error = code, number = at[column];
    };
    // The first column that is wrong counts, as on the host.
    refuse_unless(at[MATCH_HEIGHT] > 0.0f && isfinite(at[MATCH_HEIGHT]), DATA_ERROR_MATCH_BOX, MATCH_HEIGHT);
    refuse_unless(at[MATCH_WIDTH] > 0.0f && isfinite(at[MATCH_WIDTH]), DATA_ERROR_MATCH_BOX, MATCH_WIDTH);
    refuse_unless(isfinite(at[MATCH_CENTER_Y]), DATA_ERROR_MATCH_BOX, MATCH_CENTER_Y);
    refuse_unless(isfinite(at[MATCH_CENTER_X]), DATA_ERROR_MATCH_BOX, MATCH_CENTER_X);
    refuse_unless(is_index(at[MATCH_CLASS], limits.classes), DATA_ERROR_MATCH_CLASS, MATCH_CLASS);
    refuse_unless(is_index(at[MATCH_ANCHOR], limits.anchors), DATA_ERROR_MATCH_ANCHOR, MATCH_ANCHOR);
    refuse_unless(is_index(at[MATCH_X], limits.width), DATA_ERROR_MATCH_X, MATCH_X);
    refuse_unless(is_index(at[MATCH_Y], limits.height), DATA_ERROR_MATCH_Y, MATCH_Y);
    refuse_unless(is_index(at[MATCH_IMAGE], limits.images), DATA_ERROR_MATCH_IMAGE, MATCH_IMAGE);
    refuse_unless(at[MATCH_VALID] == 1.0f, DATA_ERROR_MATCH_USED, MATCH_VALID);
    if (error != DATA_ERROR_NONE) {
        report_data_error(status, error, number, static_cast<unsigned>(row));
        return false;
    }
    match.image = at[MATCH_IMAGE];
    match.y = at[MATCH_Y];
    match.x = at[MATCH_X];
    match.anchor = at[MATCH_ANCHOR];
    match.cls = at[MATCH_CLASS];
#pragma unroll
    for (int i = 0; i < 4; i++) match.target[i] = at[MATCH_CENTER_X + i];
    return true;
}
