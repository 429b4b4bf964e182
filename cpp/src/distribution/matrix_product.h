// Products of dense row-major matrices whose structural zeros are known by row and column.
//
// 1. Rows are padded to whole vectors with zeros, so that there are no column tails.
// 2. Four rows times two vectors of columns stay in registers over the inner sum; vectors are those
//    of the instruction set, as compilers take wider ones through memory.
// 3. Entry (i, j) sums over [inner_begin[j], inner_end[i]) widened to the group of four rows and the
//    panel of columns; what this adds is zero. A lower block triangle costs a sixth of the full cube.
#pragma once

#include <algorithm>
#include <cstring>

#include "kernel/lane.h"

namespace phasic::PHASIC_ISA {

inline constexpr Index kVector = 8;  // doubles that rows are padded to

[[nodiscard]] inline Index padded(Index columns) { return (columns + kVector - 1) / kVector * kVector; }

// Where the inner sums begin by column and end by row. Empty: everywhere at 0, or at the last.
struct InnerBounds {
  Span<const std::int32_t> begin, end;
};

namespace detail_product {

#if defined(__AVX512F__)
inline constexpr int kNative = 8;
#elif defined(__AVX__)
inline constexpr int kNative = 4;
#else
inline constexpr int kNative = 2;
#endif
typedef double Storage __attribute__((vector_size(kNative * sizeof(double))));
inline constexpr Index kMaxPanels = kNative == 8 ? 2 : 1;  // of kVector columns, in registers

// kRows rows of `out` at kPanels times kVector columns.
template <int kRows, int kPanels>
void add_tile(const double* left, Index left_stride, const double* right, Index right_stride,
              Index first, Index last, double* out) {
  constexpr int kVectors = kPanels * static_cast<int>(kVector) / kNative;
  Storage sum[kRows][kVectors];
  for (int i = 0; i < kRows; ++i) {
    for (int p = 0; p < kVectors; ++p) {
      std::memcpy(&sum[i][p], out + i * right_stride + p * kNative, sizeof(Storage));
    }
  }
  for (Index l = first; l < last; ++l) {
    Storage b[kVectors];
    for (int p = 0; p < kVectors; ++p) {
      std::memcpy(&b[p], right + l * right_stride + p * kNative, sizeof(Storage));
    }
    for (int i = 0; i < kRows; ++i) {
      const double a = left[i * left_stride + l];
      for (int p = 0; p < kVectors; ++p) {
        sum[i][p] += a * b[p];
      }
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int p = 0; p < kVectors; ++p) {
      std::memcpy(out + i * right_stride + p * kNative, &sum[i][p], sizeof(Storage));
    }
  }
}

}  // namespace detail_product

struct MatrixSizes {
  Index rows, inner, left_stride, stride;  // stride: of right and out, a multiple of kVector
};

// out += left * right.  left: (rows, left_stride), right: (inner, stride), out: (rows, stride)
inline void add_product(const MatrixSizes& size, const double* left, const double* right,
                        double* out, const InnerBounds& bounds) {
  constexpr int kRows = 4;
  for (Index j = 0; j < size.stride;) {
    const Index panels =
        size.stride - j >= 2 * kVector ? detail_product::kMaxPanels : Index{1};
    const Index first = bounds.begin.empty() || j >= bounds.begin.size() ? 0 : bounds.begin[j];
    for (Index i = 0; i < size.rows;) {
      const bool four = size.rows - i >= kRows;
      const Index next = i + (four ? kRows : 1);
      const Index last = bounds.end.empty() ? size.inner : Index{bounds.end[next - 1]};
      if (first < last) {
        const double* const a = left + i * size.left_stride;
        double* const c = out + i * size.stride + j;
        const auto tile = panels == 2
                              ? (four ? detail_product::add_tile<kRows, 2> : detail_product::add_tile<1, 2>)
                              : (four ? detail_product::add_tile<kRows, 1> : detail_product::add_tile<1, 1>);
        tile(a, size.left_stride, right + j, size.stride, first, last, c);
      }
      i = next;
    }
    j += panels * kVector;
  }
}

}  // namespace phasic::PHASIC_ISA
