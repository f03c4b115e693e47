// Products of a warpgroup: wgmma.mma_async. They run when they are waited for, and until then the sums are no numbers.
// All 128 threads meet at the wait; the last to come computes for all.
#include <algorithm>
#include <cstring>
#include <limits>

#include "runtime.h"
#include "tensor_map.h"

using namespace emulator;

namespace {

constexpr unsigned warpgroup_threads = 128, product_rows = 64, product_k = 16, most_columns = 256;

// An operand in shared memory along K, read off its descriptor: PTX ISA, "Matrix descriptor format". Eight rows of
// `span` bytes follow each other, the next eight are `stride` bytes further.
struct Operand {
    size_t start, stride;
    unsigned span, rows;

    static Operand decode(uint64_t descriptor, unsigned rows) {
        const unsigned spans[] = {0, 128, 64, 32};
        return {static_cast<size_t>(descriptor & 0x3fff) << 4, static_cast<size_t>(descriptor >> 32 & 0x3fff) << 4,
                spans[descriptor >> 62], rows};
    }
    // Of byte `byte` of a row, as the hardware finds it.
    size_t place(unsigned row, unsigned byte) const {
        return swizzled(start + row / 8 * stride + row % 8 * span + byte, span);
    }
    size_t end() const { return start + (rows / 8 - 1) * stride + 7 * span + 2 * product_k; }
};

float to_float(uint16_t bits, Element element) {
    uint32_t result = static_cast<uint32_t>(bits) << 16;
    if (element == element_f16) {
        uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16, exponent = bits >> 10 & 31, mantissa = bits & 1023;
        if (exponent == 0) {
            float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
            return sign ? -magnitude : magnitude;
        }
        result = sign | (exponent == 31 ? 255u : exponent + 112u) << 23 | mantissa << 13;
    }
    float value;
    memcpy(&value, &result, 4);
    return value;
}

float element_of(const Operand& operand, unsigned row, unsigned k, Element element) {
    uint16_t bits;
    memcpy(&bits, block.shared + operand.place(row, 2 * k), 2);
    return to_float(bits, element);
}

typedef float Eight __attribute__((vector_size(32)));
// The sums of the warpgroup whose products run.
Eight sums[product_rows][most_columns / 8];

void run(const Product& product) {
    Operand a = Operand::decode(product.a, product_rows), b = Operand::decode(product.b, product.columns);
    Eight row[most_columns / 8];
    for (unsigned k = 0; k < product_k; k++) {
        for (unsigned j = 0; j < product.columns; j++)
            reinterpret_cast<float*>(row)[j] = element_of(b, j, k, product.element);
        for (unsigned i = 0; i < product_rows; i++) {
            float factor = element_of(a, i, k, product.element);
            for (unsigned j = 0; j < product.columns / 8; j++) sums[i][j] += factor * row[j];
        }
    }
}

// Exchanges the threads' shares and the sums: PTX ISA, "Matrix fragments for wgmma.mma_async.m64nNk16".
template <class Exchange>
void each_share(Fiber* first, unsigned columns, Exchange exchange) {
    for (unsigned thread = 0; thread < warpgroup_threads; thread++) {
        unsigned row = thread / 32 * 16 + thread % 32 / 4, column = thread % 4 * 2;
        for (unsigned index = 0; index < columns / 2; index++) {
            float* sum = reinterpret_cast<float*>(sums[row + 8 * (index / 2 % 2)]) + column + 8 * (index / 4) + index % 2;
            exchange(first[thread].sums[index], *sum);
        }
    }
}

bool same(const Product& x, const Product& y) {
    return x.a == y.a && x.b == y.b && x.columns == y.columns && x.element == y.element;
}

// All threads of the warpgroup wait until `pending` groups are left.
void finish(Fiber* first) {
    for (unsigned thread = 1; thread < warpgroup_threads; thread++) {
        const Fiber& other = first[thread];
        bool equal = other.products.size() == first->products.size() && other.groups_left == first->groups_left &&
                     other.product_groups == first->product_groups &&
                     std::equal(other.products.begin(), other.products.end(), first->products.begin(), same);
        if (equal) continue;
        fail_launch(launch_failed, "the threads of a warpgroup do not wait for the same products");
        abandon();
    }
    if (first->product_groups.size() <= first->groups_left) return;
    size_t closed = first->product_groups.size() - first->groups_left, count = first->product_groups[closed - 1];
    if (count == 0) return;
    unsigned columns = first->products[0].columns;
    each_share(first, columns, [](float share, float& sum) { sum = share; });
    for (size_t i = 0; i < count; i++) run(first->products[i]);
    each_share(first, columns, [](float& share, float sum) { share = sum; });
    for (unsigned thread = 0; thread < warpgroup_threads; thread++) {
        Fiber& fiber = first[thread];
        float* d = fiber.products[0].d;
        fiber.products.erase(fiber.products.begin(), fiber.products.begin() + static_cast<std::ptrdiff_t>(count));
        fiber.product_groups.erase(fiber.product_groups.begin(),
                                   fiber.product_groups.begin() + static_cast<std::ptrdiff_t>(closed));
        for (size_t& group : fiber.product_groups) group -= count;
        if (!fiber.products.empty()) continue;
        std::copy(fiber.sums.begin(), fiber.sums.end(), d);
        fiber.products_fenced = false;
    }
}

void check_operand(const Operand& operand, uint64_t descriptor, const void* pc) {
    if (operand.span == 0 || (descriptor >> 49 & 7) != 0) {
        fail_launch(launch_failed, "an operand without a swizzle, or with a base offset: the emulator knows none%s",
                    source_line(pc).c_str());
        abandon();
    }
    if (is_copied_to(operand.start, operand.end() - operand.start)) {
        fail_launch(launch_failed,
                    "a product of a warpgroup reads shared address %zu, to which the copy of a box is under way: "
                    "a wait at its barrier is missing%s",
                    operand.start, source_line(pc).c_str());
        abandon();
    }
    // The operands are the same for all; the first thread's look will do.
    if (!tracing || current->linear % warpgroup_threads != 0) return;
    for (unsigned row = 0; row < operand.rows; row++)
        for (unsigned byte = 0; byte < 2 * product_k; byte += 16) trace_operand(operand.place(row, byte), 16, pc);
}

}  // namespace

bool emulator::is_multiplied(size_t offset, size_t bytes) {
    for (const Fiber& fiber : block.fibers)
        for (const Product& product : fiber.products) {
            Operand a = Operand::decode(product.a, product_rows), b = Operand::decode(product.b, product.columns);
            for (const Operand& operand : {a, b})
                if (offset < operand.end() && operand.start < offset + bytes) return true;
        }
    return false;
}

EMULATOR_API void emulator_wgmma_fence() { current->products_fenced = true; }

EMULATOR_API void emulator_wgmma(float* d, unsigned columns, unsigned long long a, unsigned long long b,
                                 Element element) {
    Fiber* fiber = current;
    const void* pc = __builtin_return_address(0);
    auto refuse_product = [&](const char* why) {
        fail_launch(launch_failed, "%s%s", why, source_line(pc).c_str());
        abandon();
    };
    if (fiber->linear / warpgroup_threads * warpgroup_threads + warpgroup_threads > block.fibers.size()) {
        refuse_product("a product of a warpgroup needs 128 threads");
    }
    if (!fiber->products_fenced) refuse_product("a product of a warpgroup without a wgmma_fence before it");
    check_operand(Operand::decode(a, product_rows), a, pc);
    check_operand(Operand::decode(b, columns), b, pc);
    if (fiber->products.empty()) {
        fiber->sums.assign(d, d + columns / 2);
        std::fill(d, d + columns / 2, std::numeric_limits<float>::quiet_NaN());
    } else if (fiber->products[0].d != d || fiber->products[0].columns != columns) {
        refuse_product("products into other sums while some are under way: the emulator follows one set");
    }
    fiber->products.push_back({d, columns, a, b, element});
}

EMULATOR_API void emulator_wgmma_commit() { current->product_groups.push_back(current->products.size()); }

EMULATOR_API void emulator_wgmma_wait(int pending) {
    Fiber* fiber = current;
    fiber->groups_left = static_cast<size_t>(pending);
    Fiber* first = &block.fibers[fiber->linear / warpgroup_threads * warpgroup_threads];
    if (first + warpgroup_threads > block.fibers.data() + block.fibers.size()) {
        fail_launch(launch_failed, "a wait for products of a warpgroup needs 128 threads");
        abandon();
    }
    fiber->state = State::warpgroup;
    bool is_last = true;
    for (unsigned thread = 0; thread < warpgroup_threads; thread++)
        is_last &= first[thread].state == State::warpgroup;
    if (!is_last) {
        wait();
        return;
    }
    finish(first);
    for (unsigned thread = 0; thread < warpgroup_threads; thread++)
        if (first + thread != fiber) wake(first + thread);
    fiber->state = State::ready;
}
