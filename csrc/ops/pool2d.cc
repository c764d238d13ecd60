#include "ops/pool2d.h"

#include "ops/row_plan.h"

namespace wbcq {
namespace {

namespace attr = format::pool2d;

// Adaptive pools have a kernel of 0; docs/design/numerics.md defines their windows.
int64_t most_taps(const WindowAxis& axis) {
  return std::min(axis.in, axis.kernel == 0 ? axis.in / axis.out + 2 : axis.kernel);
}

// Where the pixels under window `o` lie: from begin, `dilation` apart, before end.
WindowAxis::Span pixels_inside(const WindowAxis& axis, int64_t o) {
  if (axis.kernel == 0) {
    return {o * axis.in / axis.out, ((o + 1) * axis.in + axis.out - 1) / axis.out};
  }
  const WindowAxis::Span taps = axis.taps_inside(o);
  return {axis.position(o, taps.begin), axis.position(o, taps.end)};
}

}  // namespace

template <typename T>
Pool2d<T>::Pool2d(const OpSource& source, std::string_view kind, std::string_view kernel)
    : Op(source.name, kind, kernel),
      kernels_(*source.kernels),
      input_(*source.inputs[0]),
      output_(*source.outputs[0]),
      y_{static_cast<int64_t>(input_.height), static_cast<int64_t>(output_.height),
         source.attrs[attr::kKernelH],        source.attrs[attr::kStrideH],
         source.attrs[attr::kPadTop],         source.attrs[attr::kDilationH]},
      x_{static_cast<int64_t>(input_.width), static_cast<int64_t>(output_.width),
         source.attrs[attr::kKernelW],       source.attrs[attr::kStrideW],
         source.attrs[attr::kPadLeft],       source.attrs[attr::kDilationW]} {
  cost_.activation_bytes = (input_.pixels() + output_.pixels()) * input_.pixel_bytes();
}

template <typename T>
std::unique_ptr<OpPlan> Pool2d<T>::plan(size_t batch, size_t /*threads*/) const {
  const auto window = static_cast<size_t>(most_taps(y_) * most_taps(x_));
  return std::make_unique<RowPlan<Pool2d>>(*this, batch * output_.height,
                                           window * sizeof(const T*));
}

template <typename T>
void Pool2d<T>::run_rows(const OpBuffers& buffers, size_t first, size_t last,
                         std::byte* scratch) const {
  auto** rows = reinterpret_cast<const T**>(scratch);
  const std::byte* origin = buffers.inputs[0] + input_.layout.origin;
  for (size_t row = first; row < last; ++row) {
    const std::byte* picture = origin + row / output_.height * input_.layout.picture_stride;
    std::byte* const out_row = buffers.outputs[0] + output_.row_offset(row);
    std::byte* out = out_row;
    const auto oy = static_cast<int64_t>(row % output_.height);
    const WindowAxis::Span ys = pixels_inside(y_, oy);
    for (int64_t ox = 0; ox < x_.out; ++ox, out += output_.layout.pixel_stride) {
      const WindowAxis::Span xs = pixels_inside(x_, ox);
      size_t taps = 0;
      for (int64_t y = ys.begin; y < ys.end; y += y_.dilation) {
        const std::byte* line = picture + y * static_cast<ptrdiff_t>(input_.layout.row_stride);
        for (int64_t x = xs.begin; x < xs.end; x += x_.dilation) {
          rows[taps++] = reinterpret_cast<const T*>(
              line + x * static_cast<ptrdiff_t>(input_.layout.pixel_stride));
        }
      }
      run_window({rows, taps, y_.position(oy, 0), x_.position(ox, 0), reinterpret_cast<T*>(out)});
    }
    finish_row(reinterpret_cast<T*>(out_row));
  }
}

template class Pool2d<uint8_t>;
template class Pool2d<float>;

}  // namespace wbcq
