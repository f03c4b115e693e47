// What the stand-in for cuTensorMapEncodeTiled writes into a tensor map, and a copy of a box reads.
#pragma once
#include <cstddef>
#include <cstdint>

namespace emulator {

constexpr unsigned most_axes = 5;

// Axes begin with the innermost one.
struct TensorMapBits {
    uint32_t magic;
    uint8_t rank, element_bytes;
    // Bytes of a row within which chunks of 16 are exchanged: 128, 64, 32; 0 is none.
    uint8_t swizzle;
    uint8_t steps[most_axes];
    uint16_t box[most_axes];
    uint64_t address;
    // Bytes from one to the next along the axis; those of the innermost are the element's.
    uint64_t strides[most_axes];
    uint64_t sizes[most_axes];

    // Elements of the box along an axis.
    unsigned count(unsigned axis) const { return (box[axis] + steps[axis] - 1u) / steps[axis]; }
    size_t row_bytes() const { return size_t{box[0]} * element_bytes; }
    size_t rows() const {
        size_t product = 1;
        for (unsigned axis = 1; axis < rank; axis++) product *= count(axis);
        return product;
    }
};
constexpr uint32_t tensor_map_magic = 0x50414d54;
constexpr size_t tensor_map_bytes = 128;
static_assert(sizeof(TensorMapBits) <= tensor_map_bytes, "a tensor map is 128 bytes");

// Where a byte at `offset` of shared memory lies with a swizzle over `span` bytes: PTX ISA, "Swizzling modes". The
// pattern goes by the address, so it repeats every 8 · span bytes of shared memory, wherever a tile begins.
inline size_t swizzled(size_t offset, unsigned span) {
    return span == 0 ? offset : offset ^ ((offset >> 7) & (span / 16 - 1)) << 4;
}

}  // namespace emulator
