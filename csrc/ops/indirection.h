// Row pointers of an indirect GEMM: for every output pixel of a tile and every kernel tap, where
// the input pixel lies. They are computed, not looked up: consecutive outputs of one picture row
// meet consecutive inputs, so a run of pointers costs one addition each, and no table of the
// picture's size takes memory or cache.
#ifndef WBCQ_OPS_INDIRECTION_H_
#define WBCQ_OPS_INDIRECTION_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ops/tensor.h"
#include "ops/window.h"

namespace wbcq {

class Indirection {
 public:
  // The taps that leave the picture and its halo meet the padding row.
  Indirection(const WindowAxis& y, const WindowAxis& x, const TensorLayout& layout);

  size_t segments() const { return y_spans_.size() * x_spans_.size(); }
  // True when some tap meets the padding row.
  bool needs_padding() const { return needs_padding_; }

  // Writes lhs[segment * segment_stride + i] for the pixels first + i, i in [0, rows). Pixels count
  // through all pictures of the batch; segments are kernel taps, row by row. `origin` is the first
  // channel of pixel (0, 0) of the first picture, `padding` a row that holds the zero point. T:
  // uint8_t or float, the elements of the tensor.
  template <typename T>
  void expand(const T* origin, const T* padding, size_t first, size_t rows, size_t segment_stride,
              const T** lhs) const {
    Cursor<T> cursor = at(origin, first);
    expand(cursor, padding, rows, segment_stride, lhs);
  }

  // A place among the output pixels, for tiles that follow one another.
  template <typename T>
  struct Cursor {
    const T* picture;
    int64_t oy;
    int64_t ox;
    // The last tile, if it lies in one picture row and meets no padding: others like it are moved
    // copies.
    const T** inner = nullptr;
    const T* inner_pixel = nullptr;
    size_t inner_rows = 0;
  };
  template <typename T>
  Cursor<T> at(const T* origin, size_t first) const;

  // The same for the `rows` pixels at the cursor, which moves behind them. What was written for the
  // tile before, with the same segment_stride, is still there.
  template <typename T>
  void expand(Cursor<T>& cursor, const T* padding, size_t rows, size_t segment_stride,
              const T** lhs) const;

 private:
  template <typename T>
  void expand_runs(Cursor<T>& cursor, const T* padding, int64_t rows, size_t segment_stride,
                   const T** lhs) const;
  // Moves to the pixel `count` behind, in the same row or at the beginning of the next one.
  template <typename T>
  void advance(Cursor<T>& cursor, int64_t count) const;
  template <typename T>
  void expand_run(const T* picture, const T* padding, int64_t oy, int64_t ox, int64_t count,
                  size_t segment_stride, const T** lhs) const;
  // In elements.
  template <typename T>
  static ptrdiff_t stride(ptrdiff_t bytes) {
    return bytes / static_cast<ptrdiff_t>(sizeof(T));
  }

  WindowAxis y_;
  WindowAxis x_;
  std::vector<WindowAxis::Span> y_spans_;  // for each tap, the outputs for which it lies inside
  std::vector<WindowAxis::Span> x_spans_;
  WindowAxis::Span y_inner_;  // outputs whose taps all lie inside
  WindowAxis::Span x_inner_;
  ptrdiff_t pixel_stride_;
  ptrdiff_t row_stride_;
  ptrdiff_t picture_stride_;
  bool needs_padding_ = false;
};

}  // namespace wbcq

#endif  // WBCQ_OPS_INDIRECTION_H_
