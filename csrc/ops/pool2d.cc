#include "ops/pool2d.h"

#include "ops/row_plan.h"

namespace wbcq {
namespace {

namespace attr = format::pool2d;

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
  const auto window = static_cast<size_t>(std::min(y_.kernel, y_.in) * std::min(x_.kernel, x_.in));
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
    const WindowAxis::Span y_taps = y_.taps_inside(oy);
    for (int64_t ox = 0; ox < x_.out; ++ox, out += output_.layout.pixel_stride) {
      const WindowAxis::Span x_taps = x_.taps_inside(ox);
      size_t taps = 0;
      for (int64_t ky = y_taps.begin; ky < y_taps.end; ++ky) {
        const std::byte* line =
            picture + y_.position(oy, ky) * static_cast<ptrdiff_t>(input_.layout.row_stride);
        for (int64_t kx = x_taps.begin; kx < x_taps.end; ++kx) {
          rows[taps++] = reinterpret_cast<const T*>(
              line + x_.position(ox, kx) * static_cast<ptrdiff_t>(input_.layout.pixel_stride));
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
