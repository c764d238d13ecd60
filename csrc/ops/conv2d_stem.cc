// The first layer of many networks, 3x3 over the three colours of a picture, a row of outputs at a
// time.
#include <memory>
#include <vector>

#include "kernels/stem/pack.h"
#include "ops/conv2d.h"
#include "ops/row_plan.h"

namespace wbcq {
namespace {

class ConvStemOp final : public Op {
 public:
  explicit ConvStemOp(const Conv2dSpec& spec)
      : Op(spec.name, "conv2d", spec.kernels->stem->name),
        kernel_(*spec.kernels->stem),
        input_(*spec.inputs[0]),
        output_(*spec.output),
        y_(spec.y),
        x_(spec.x),
        rounding_(*spec.rounding),
        packed_(output_.channels / kStemBlock) {
    StemPackInput input = {};
    input.channels = output_.channels;
    input.zero_point = input_.zero_point;
    input.weights = spec.weights.data();
    input.bias = spec.bias.data();
    input.multipliers = spec.multipliers.data();
    stem_pack(input, packed_.data());
    cost_ = conv2d_cost(spec);
    cost_.weight_bytes = packed_bytes();
  }

  size_t packed_bytes() const override { return packed_.size() * sizeof(StemPackedBlock); }
  std::unique_ptr<OpPlan> plan(size_t batch, size_t /*threads*/) const override {
    return std::make_unique<RowPlan<ConvStemOp>>(*this, batch * output_.height);
  }

  void run_rows(const OpBuffers& buffers, size_t first, size_t last, std::byte* /*scratch*/) const {
    StemRow args = {};
    args.stride = static_cast<size_t>(x_.stride);
    args.width = output_.width;
    args.channels = output_.channels;
    args.packed = packed_.data();
    args.zero_point = rounding_.zero_point();
    args.lo = rounding_.lo();
    args.hi = rounding_.hi();
    const auto row_stride = static_cast<ptrdiff_t>(input_.layout.row_stride);
    for (size_t row = first; row < last; ++row) {
      const std::byte* picture = buffers.inputs[0] + input_.layout.origin +
                                 row / output_.height * input_.layout.picture_stride;
      const auto oy = static_cast<int64_t>(row % output_.height);
      const std::byte* window = picture + y_.position(oy, 0) * row_stride +
                                x_.position(0, 0) * static_cast<ptrdiff_t>(kStemChannels);
      for (const uint8_t*& tap_row : args.rows) {
        tap_row = reinterpret_cast<const uint8_t*>(window);
        window += row_stride;
      }
      args.out = reinterpret_cast<uint8_t*>(buffers.outputs[0] + output_.row_offset(row));
      kernel_.run(args);
      rounding_.apply_table(args.out, args.channels, args.width, args.channels);
    }
  }

 private:
  const StemKernel& kernel_;
  const Tensor& input_;
  const Tensor& output_;
  WindowAxis y_;
  WindowAxis x_;
  Rounding rounding_;
  std::vector<StemPackedBlock> packed_;
};

bool reaches_only_the_halo(const WindowAxis& axis, size_t before, size_t beyond) {
  return axis.reach_before() <= static_cast<int64_t>(before) &&
         axis.reach_beyond() <= static_cast<int64_t>(beyond);
}

}  // namespace

bool can_use_stem(const Conv2dSpec& spec) {
  if (spec.kernels->stem == nullptr || spec.inputs.size() != 1 || spec.groups != 1) return false;
  if (spec.residual != nullptr || spec.output->dtype != format::DType::kU8) return false;
  const Tensor& input = *spec.inputs[0];
  const Tensor& output = *spec.output;
  const TensorLayout& layout = input.layout;
  for (const WindowAxis* axis : {&spec.y, &spec.x}) {
    if (axis->kernel != static_cast<int64_t>(kStemTaps) || axis->dilation != 1) return false;
  }
  return input.channels == kStemChannels && layout.pixel_stride == kStemChannels &&
         reaches_only_the_halo(spec.y, layout.halo.top, layout.halo.bottom) &&
         reaches_only_the_halo(spec.x, layout.halo.left, layout.halo.right) && spec.x.stride <= 2 &&
         output.width >= spec.kernels->stem->least_width && output.channels % kStemBlock == 0 &&
         output.channels <= kStemMaxBlocks * kStemBlock &&
         output.layout.pixel_stride == output.channels && !may_leave_int32(spec);
}

std::unique_ptr<Op> make_conv2d_stem(const Conv2dSpec& spec) {
  return std::make_unique<ConvStemOp>(spec);
}

}  // namespace wbcq
