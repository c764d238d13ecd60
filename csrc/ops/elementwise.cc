#include "ops/elementwise.h"

#include <algorithm>

#include "ops/row_plan.h"

namespace wbcq {
namespace {

// A run stays in L1 between an operation and the table that follows it.
constexpr size_t kRunBytes = 8 * 1024;

// The gaps between pixels may be computed as well: one long run is faster than many short ones.
bool can_join_pixels(const Tensor& tensor, const Tensor& output) {
  return !tensor.is_view && tensor.rows_follow() && tensor.dtype == output.dtype &&
         tensor.layout.pixel_stride == output.layout.pixel_stride;
}

}  // namespace

ElementwiseOp::ElementwiseOp(const OpSource& source, std::string_view kind, std::string_view kernel,
                             Unit unit)
    : Op(source.name, kind, kernel),
      a_(*source.inputs[0]),
      b_(source.inputs.size() > 1 ? source.inputs[1] : nullptr),
      output_(*source.outputs[0]),
      broadcast_(b_ != nullptr && b_->pixels() != output_.pixels()),
      joins_pixels_(unit == Unit::kElement && !broadcast_ && can_join_pixels(a_, output_) &&
                    (b_ == nullptr || can_join_pixels(*b_, output_)) &&
                    can_join_pixels(output_, output_)) {
  const bool follow = a_.rows_follow() && output_.rows_follow() &&
                      (b_ == nullptr || broadcast_ || b_->rows_follow());
  const size_t row_bytes = output_.width * output_.layout.pixel_stride;
  rows_per_run_ = follow ? std::max<size_t>(1, kRunBytes / row_bytes) : 1;
  // A kernel prepares a broadcast pixel once a run.
  if (follow && broadcast_) rows_per_run_ = output_.height;
  cost_.activation_bytes =
      a_.pixels() * a_.pixel_bytes() + output_.pixels() * output_.pixel_bytes();
  if (b_ != nullptr) cost_.activation_bytes += b_->pixels() * b_->pixel_bytes();
}

std::unique_ptr<OpPlan> ElementwiseOp::plan(size_t batch, size_t /*threads*/) const {
  return std::make_unique<RowPlan<ElementwiseOp>>(*this, batch * output_.height);
}

void ElementwiseOp::run_rows(const OpBuffers& buffers, size_t first, size_t last,
                             std::byte* /*scratch*/) const {
  Run args = {};
  args.channels = output_.channels;
  args.a_stride = a_.layout.pixel_stride / a_.element_bytes();
  args.out_stride = output_.layout.pixel_stride / output_.element_bytes();
  if (b_ != nullptr && !broadcast_) args.b_stride = b_->layout.pixel_stride / b_->element_bytes();
  for (size_t row = first; row < last;) {
    const size_t picture_rows = output_.height - row % output_.height;
    const size_t rows = std::min({rows_per_run_, picture_rows, last - row});
    args.pixels = rows * output_.width;
    args.a = buffers.inputs[0] + a_.row_offset(row);
    if (b_ != nullptr) {
      args.b = buffers.inputs[1] + b_->row_offset(broadcast_ ? row / output_.height : row);
    }
    args.out = buffers.outputs[0] + output_.row_offset(row);
    if (joins_pixels_) {
      args.channels = args.pixels * args.out_stride;
      args.pixels = 1;
    }
    run(args);
    row += rows;
  }
}

}  // namespace wbcq
