#include "ops/indirection.h"

#include <algorithm>

namespace wbcq {
namespace {

std::vector<WindowAxis::Span> spans_of(const WindowAxis& axis, size_t before, size_t beyond) {
  std::vector<WindowAxis::Span> spans;
  for (int64_t k = 0; k < axis.kernel; ++k) {
    spans.push_back(axis.outputs_within(k, -static_cast<int64_t>(before),
                                        axis.in + static_cast<int64_t>(beyond)));
  }
  return spans;
}

bool all_inside(const std::vector<WindowAxis::Span>& spans, int64_t outputs) {
  return std::all_of(spans.begin(), spans.end(),
                     [&](const WindowAxis::Span& span) { return span.size() == outputs; });
}

}  // namespace

Indirection::Indirection(const WindowAxis& y, const WindowAxis& x, const TensorLayout& layout)
    : y_(y),
      x_(x),
      y_spans_(spans_of(y, layout.halo.top, layout.halo.bottom)),
      x_spans_(spans_of(x, layout.halo.left, layout.halo.right)),
      pixel_stride_(static_cast<ptrdiff_t>(layout.pixel_stride)),
      row_stride_(static_cast<ptrdiff_t>(layout.row_stride)),
      picture_stride_(static_cast<ptrdiff_t>(layout.picture_stride)) {
  needs_padding_ = !all_inside(y_spans_, y.out) || !all_inside(x_spans_, x.out);
  linear_ = segments() == 1 && !needs_padding_ && y.stride == 1 && x.stride == 1 && y.out == y.in &&
            x.out == x.in && row_stride_ == x.in * pixel_stride_ &&
            picture_stride_ == y.in * row_stride_ && y.pad == 0 && x.pad == 0;
}

template <typename T>
void Indirection::expand(const T* origin, const T* padding, size_t first, size_t rows,
                         size_t segment_stride, const T** lhs) const {
  const ptrdiff_t pixel_stride = stride<T>(pixel_stride_);
  const ptrdiff_t picture_stride = stride<T>(picture_stride_);
  if (linear_) {
    const T* row = origin + static_cast<ptrdiff_t>(first) * pixel_stride;
    for (size_t i = 0; i < rows; ++i) lhs[i] = row + static_cast<ptrdiff_t>(i) * pixel_stride;
    return;
  }
  const int64_t pixels = y_.out * x_.out;
  const T* picture = origin + static_cast<int64_t>(first) / pixels * picture_stride;
  int64_t oy = static_cast<int64_t>(first) % pixels / x_.out;
  int64_t ox = static_cast<int64_t>(first) % x_.out;
  for (int64_t left = static_cast<int64_t>(rows); left > 0;) {
    const int64_t count = std::min(left, x_.out - ox);
    expand_run(picture, padding, oy, ox, count, segment_stride, lhs);
    lhs += count;
    left -= count;
    ox = 0;
    if (++oy == y_.out) {
      oy = 0;
      picture += picture_stride;
    }
  }
}

// Outputs [ox, ox + count) of row oy.
template <typename T>
void Indirection::expand_run(const T* picture, const T* padding, int64_t oy, int64_t ox,
                             int64_t count, size_t segment_stride, const T** lhs) const {
  const ptrdiff_t pixel_stride = stride<T>(pixel_stride_);
  const ptrdiff_t row_stride = stride<T>(row_stride_);
  const ptrdiff_t step = x_.stride * pixel_stride;
  for (size_t ky = 0; ky < y_spans_.size(); ++ky) {
    if (oy < y_spans_[ky].begin || oy >= y_spans_[ky].end) {
      for (size_t kx = 0; kx < x_spans_.size(); ++kx, lhs += segment_stride) {
        std::fill_n(lhs, count, padding);
      }
      continue;
    }
    const T* row = picture + y_.position(oy, static_cast<int64_t>(ky)) * row_stride;
    for (size_t kx = 0; kx < x_spans_.size(); ++kx, lhs += segment_stride) {
      const int64_t begin = std::clamp<int64_t>(x_spans_[kx].begin - ox, 0, count);
      const int64_t end = std::clamp<int64_t>(x_spans_[kx].end - ox, begin, count);
      const T* pixel = row + x_.position(ox, static_cast<int64_t>(kx)) * pixel_stride;
      for (int64_t i = 0; i < begin; ++i) lhs[i] = padding;
      for (int64_t i = begin; i < end; ++i) lhs[i] = pixel + i * step;
      for (int64_t i = end; i < count; ++i) lhs[i] = padding;
    }
  }
}

template void Indirection::expand(const uint8_t*, const uint8_t*, size_t, size_t, size_t,
                                  const uint8_t**) const;
template void Indirection::expand(const float*, const float*, size_t, size_t, size_t,
                                  const float**) const;

}  // namespace wbcq
