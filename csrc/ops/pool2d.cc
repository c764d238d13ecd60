#include "ops/pool2d.h"

#include "ops/row_plan.h"

namespace wbcq {

namespace attr = format::pool2d;

PoolOp::PoolOp(const OpSource& source, std::string_view kind, std::string_view kernel)
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

// Adaptive pools have a kernel of 0; docs/design/numerics.md defines their windows.
WindowAxis::Span PoolOp::pixels_inside(const WindowAxis& axis, int64_t o) {
  if (axis.kernel == 0) {
    return {o * axis.in / axis.out, ((o + 1) * axis.in + axis.out - 1) / axis.out};
  }
  const WindowAxis::Span taps = axis.taps_inside(o);
  return {axis.position(o, taps.begin), axis.position(o, taps.end)};
}

size_t PoolOp::most_taps(const WindowAxis& axis) {
  const int64_t kernel = axis.kernel == 0 ? axis.in / axis.out + 2 : axis.kernel;
  return static_cast<size_t>(std::min(axis.in, kernel));
}

template <typename T>
std::unique_ptr<OpPlan> Pool2d<T>::plan(size_t batch, size_t /*threads*/) const {
  return std::make_unique<RowPlan<Pool2d>>(*this, batch * output().height,
                                           most_taps(y()) * most_taps(x()) * sizeof(const T*));
}

template <typename T>
void Pool2d<T>::run_rows(const OpBuffers& buffers, size_t first, size_t last,
                         std::byte* scratch) const {
  const TensorLayout& in = input().layout;
  auto** rows = reinterpret_cast<const T**>(scratch);
  for (size_t row = first; row < last; ++row) {
    const std::byte* picture =
        buffers.inputs[0] + in.origin + row / output().height * in.picture_stride;
    std::byte* const out_row = buffers.outputs[0] + output().row_offset(row);
    std::byte* out = out_row;
    const auto oy = static_cast<int64_t>(row % output().height);
    const WindowAxis::Span ys = pixels_inside(y(), oy);
    for (int64_t ox = 0; ox < x().out; ++ox, out += output().layout.pixel_stride) {
      const WindowAxis::Span xs = pixels_inside(x(), ox);
      size_t taps = 0;
      for (int64_t iy = ys.begin; iy < ys.end; iy += y().dilation) {
        const std::byte* line = picture + iy * static_cast<ptrdiff_t>(in.row_stride);
        for (int64_t ix = xs.begin; ix < xs.end; ix += x().dilation) {
          rows[taps++] =
              reinterpret_cast<const T*>(line + ix * static_cast<ptrdiff_t>(in.pixel_stride));
        }
      }
      run_window({rows, taps, y().position(oy, 0), x().position(ox, 0), reinterpret_cast<T*>(out)});
    }
    finish_row(reinterpret_cast<T*>(out_row));
  }
}

template class Pool2d<uint8_t>;
template class Pool2d<float>;

}  // namespace wbcq
