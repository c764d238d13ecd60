#include "ops/pool2d.h"

#include "ops/row_plan.h"

namespace wbcq {
namespace {

namespace attr = format::pool2d;

}  // namespace

Pool2d::Pool2d(const OpSource& source, std::string_view kind)
    : Op(source.name, kind, source.kernels->pool->name),
      kernels_(*source.kernels),
      input_(*source.inputs[0]),
      output_(*source.outputs[0]),
      y_{static_cast<int64_t>(input_.height), static_cast<int64_t>(output_.height),
         source.attrs[attr::kKernelH],        source.attrs[attr::kStrideH],
         source.attrs[attr::kPadTop],         source.attrs[attr::kDilationH]},
      x_{static_cast<int64_t>(input_.width), static_cast<int64_t>(output_.width),
         source.attrs[attr::kKernelW],       source.attrs[attr::kStrideW],
         source.attrs[attr::kPadLeft],       source.attrs[attr::kDilationW]} {
  cost_.activation_bytes = (input_.pixels() + output_.pixels()) * input_.channels;
}

std::unique_ptr<OpPlan> Pool2d::plan(size_t batch, size_t /*threads*/) const {
  const auto window = static_cast<size_t>(std::min(y_.kernel, y_.in) * std::min(x_.kernel, x_.in));
  return std::make_unique<RowPlan<Pool2d>>(*this, batch * output_.height,
                                           window * sizeof(const uint8_t*));
}

void Pool2d::run_rows(const OpBuffers& buffers, size_t first, size_t last,
                      std::byte* scratch) const {
  auto** rows = reinterpret_cast<const uint8_t**>(scratch);
  const auto* origin = reinterpret_cast<const uint8_t*>(buffers.inputs[0]) + input_.layout.origin;
  auto* out = reinterpret_cast<uint8_t*>(buffers.outputs[0]) + first * output_.layout.row_stride;
  for (size_t row = first; row < last; ++row) {
    const uint8_t* picture = origin + row / output_.height * input_.layout.picture_stride;
    const auto oy = static_cast<int64_t>(row % output_.height);
    const WindowAxis::Span y_taps = y_.taps_inside(oy);
    for (int64_t ox = 0; ox < x_.out; ++ox, out += output_.layout.pixel_stride) {
      const WindowAxis::Span x_taps = x_.taps_inside(ox);
      size_t taps = 0;
      for (int64_t ky = y_taps.begin; ky < y_taps.end; ++ky) {
        const uint8_t* line =
            picture + y_.position(oy, ky) * static_cast<ptrdiff_t>(input_.layout.row_stride);
        for (int64_t kx = x_taps.begin; kx < x_taps.end; ++kx) {
          rows[taps++] =
              line + x_.position(ox, kx) * static_cast<ptrdiff_t>(input_.layout.pixel_stride);
        }
      }
      run_window({rows, taps, y_.position(oy, 0), x_.position(ox, 0), out});
    }
  }
}

}  // namespace wbcq
