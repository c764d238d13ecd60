#include "ops/indirection.h"

#include <algorithm>

namespace wbcq {
namespace {

constexpr int64_t kEndless = int64_t{1} << 48;

std::vector<WindowAxis::Span> spans_of(const WindowAxis& axis, size_t before, size_t beyond) {
  std::vector<WindowAxis::Span> spans;
  for (int64_t k = 0; k < axis.kernel; ++k) {
    spans.push_back(axis.outputs_within(k, -static_cast<int64_t>(before),
                                        axis.in + static_cast<int64_t>(beyond)));
  }
  return spans;
}

WindowAxis::Span common(const std::vector<WindowAxis::Span>& spans) {
  WindowAxis::Span inner = spans[0];
  for (const WindowAxis::Span& span : spans) {
    inner.begin = std::max(inner.begin, span.begin);
    inner.end = std::min(inner.end, span.end);
  }
  return inner;
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
      y_inner_(common(y_spans_)),
      x_inner_(common(x_spans_)),
      pixel_stride_(static_cast<ptrdiff_t>(layout.pixel_stride)),
      row_stride_(static_cast<ptrdiff_t>(layout.row_stride)),
      picture_stride_(static_cast<ptrdiff_t>(layout.picture_stride)) {
  needs_padding_ = !all_inside(y_spans_, y.out) || !all_inside(x_spans_, x.out);
  // Where output pixel i reads the i-th pixel of the tensor, the batch is one long row.
  const bool linear = segments() == 1 && !needs_padding_ && y.stride == 1 && x.stride == 1 &&
                      y.out == y.in && x.out == x.in && row_stride_ == x.in * pixel_stride_ &&
                      picture_stride_ == y.in * row_stride_ && y.pad == 0 && x.pad == 0;
  if (linear) {
    y_ = {1, 1, 1, 1, 0, 1};
    x_ = {kEndless, kEndless, 1, 1, 0, 1};
    y_inner_ = y_spans_[0] = {0, 1};
    x_inner_ = x_spans_[0] = {0, kEndless};
  }
}

template <typename T>
Indirection::Cursor<T> Indirection::at(const T* origin, size_t first) const {
  const int64_t pixels = y_.out * x_.out;
  const int64_t pixel = static_cast<int64_t>(first);
  return {origin + pixel / pixels * stride<T>(picture_stride_), pixel % pixels / x_.out,
          pixel % x_.out};
}

template <typename T>
void Indirection::expand(Cursor<T>& cursor, const T* padding, size_t rows, size_t segment_stride,
                         const T** lhs) const {
  const auto count = static_cast<int64_t>(rows);
  const bool inner = cursor.ox >= x_inner_.begin && cursor.ox + count <= x_inner_.end &&
                     cursor.oy >= y_inner_.begin && cursor.oy < y_inner_.end;
  if (!inner) {
    cursor.inner = nullptr;
    expand_runs(cursor, padding, count, segment_stride, lhs);
    return;
  }
  const T* pixel = cursor.picture + y_.position(cursor.oy, 0) * stride<T>(row_stride_) +
                   x_.position(cursor.ox, 0) * stride<T>(pixel_stride_);
  if (cursor.inner != nullptr && cursor.inner_rows == rows) {
    const ptrdiff_t distance = pixel - cursor.inner_pixel;
    const T* const* __restrict from = cursor.inner;
    const T** __restrict to = lhs;
    for (size_t segment = 0; segment < segments(); ++segment) {
      for (size_t i = 0; i < rows; ++i) to[i] = from[i] + distance;
      from += segment_stride;
      to += segment_stride;
    }
    advance(cursor, count);
  } else {
    expand_runs(cursor, padding, count, segment_stride, lhs);
  }
  cursor.inner = lhs;
  cursor.inner_pixel = pixel;
  cursor.inner_rows = rows;
}

template <typename T>
void Indirection::advance(Cursor<T>& cursor, int64_t count) const {
  cursor.ox += count;
  if (cursor.ox < x_.out) return;
  cursor.ox = 0;
  if (++cursor.oy < y_.out) return;
  cursor.oy = 0;
  cursor.picture += stride<T>(picture_stride_);
}

template <typename T>
void Indirection::expand_runs(Cursor<T>& cursor, const T* padding, int64_t rows,
                              size_t segment_stride, const T** lhs) const {
  for (int64_t left = rows; left > 0;) {
    const int64_t count = std::min(left, x_.out - cursor.ox);
    expand_run(cursor.picture, padding, cursor.oy, cursor.ox, count, segment_stride, lhs);
    lhs += count;
    left -= count;
    advance(cursor, count);
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

template Indirection::Cursor<uint8_t> Indirection::at(const uint8_t*, size_t) const;
template Indirection::Cursor<float> Indirection::at(const float*, size_t) const;
template void Indirection::expand(Cursor<uint8_t>&, const uint8_t*, size_t, size_t,
                                  const uint8_t**) const;
template void Indirection::expand(Cursor<float>&, const float*, size_t, size_t,
                                  const float**) const;

}  // namespace wbcq
