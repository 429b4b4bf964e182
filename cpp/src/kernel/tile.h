// C += A B on matrices whose elements are number types T (a lane block each).
//
// Register tiles of kTileRows x kTileColumns accumulators; every other size falls to smaller tiles of
// the same code. Strides are in elements, so transposed operands need no copy. An element of C is
// summed over k in order and added to C once, whatever the tile it falls into.
#pragma once

#include "kernel/lane.h"

namespace phasic::PHASIC_ISA {

// A matrix in place: element (i, j) is data[i * row + j * column].
template <class T>
struct Strided {
  T* data;
  Index row, column;
  T& operator()(Index i, Index j) const { return data[i * row + j * column]; }
  [[nodiscard]] Strided transposed() const { return {data, column, row}; }
};

// A matrix whose element (i, j) is data[index[i * row + j]]: where a front's products are added.
template <class T>
struct Indexed {
  T* data;
  const std::int32_t* index;
  Index row;
  T& operator()(Index i, Index j) const { return data[index[i * row + j]]; }
};

template <int M, int N, class T, class A, class B, class C>
inline void multiply_tile(const A& a, const B& b, const C& c, Index i0, Index j0, Index depth) {
  T sum[M][N];
  for (int i = 0; i < M; ++i) {
    for (int j = 0; j < N; ++j) {
      sum[i][j] = T(0.0);
    }
  }
  for (Index k = 0; k < depth; ++k) {
    T right[N];
    for (int j = 0; j < N; ++j) {
      right[j] = b(k, j0 + j);
    }
    for (int i = 0; i < M; ++i) {
      const T left = a(i0 + i, k);
      for (int j = 0; j < N; ++j) {
        sum[i][j] += left * right[j];
      }
    }
  }
  for (int i = 0; i < M; ++i) {
    for (int j = 0; j < N; ++j) {
      c(i0 + i, j0 + j) += sum[i][j];
    }
  }
}

// Tile that fits the registers: 32 of 512 bits (16 lanes take two each), 16 of 256 bits; duals have
// their parts in registers.
template <class T>
struct TileShape {
  static constexpr bool dual = Traits<T>::levels > 0;
  static constexpr int rows = dual ? 2 : Traits<T>::lanes == 16 ? 3 : 4;
  static constexpr int columns = dual ? 2 : Traits<T>::lanes == 8 ? 6 : 3;
};

template <int M, class T, class A, class B, class C>
inline void multiply_rows(const A& a, const B& b, const C& c, Index i0, Index columns,
                          Index depth) {
  constexpr int kN = TileShape<T>::columns;
  Index j = 0;
  for (; j + kN <= columns; j += kN) {
    multiply_tile<M, kN, T>(a, b, c, i0, j, depth);
  }
  for (; j < columns; ++j) {
    multiply_tile<M, 1, T>(a, b, c, i0, j, depth);
  }
}

// C (rows, columns) += A (rows, depth) B (depth, columns).
template <class T, class A, class B, class C>
void multiply_add(const A& a, const B& b, const C& c, Index rows, Index columns, Index depth) {
  constexpr int kM = TileShape<T>::rows;
  if (depth == 0) {
    return;
  }
  Index i = 0;
  for (; i + kM <= rows; i += kM) {
    multiply_rows<kM, T>(a, b, c, i, columns, depth);
  }
  for (; i < rows; ++i) {
    multiply_rows<1, T>(a, b, c, i, columns, depth);
  }
}

}  // namespace phasic::PHASIC_ISA
