// Depthwise convolution: one filter for each channel, a row of outputs at a time.
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/aligned_buffer.h"
#include "format/message.h"
#include "kernels/dwconv/pack.h"
#include "ops/conv2d.h"

namespace wbcq {
namespace {

// Tiles a thread should get at least, so that unequal shares weigh little.
constexpr size_t kTilesPerThread = 8;

DwconvGeometry geometry_of(const Conv2dSpec& spec) {
  return {static_cast<size_t>(spec.y.kernel), static_cast<size_t>(spec.x.kernel),
          static_cast<size_t>(spec.x.stride), static_cast<size_t>(spec.x.dilation)};
}

class ConvDepthwiseOp final : public Op {
 public:
  ConvDepthwiseOp(const Conv2dSpec& spec, const DwconvKernel& kernel)
      : Op(spec.name, "conv2d", kernel.name),
        kernel_(kernel),
        geometry_(geometry_of(spec)),
        y_(spec.y),
        x_(spec.x),
        input_(*spec.input),
        output_(*spec.output),
        residual_(spec.residual),
        residual_multiplier_(spec.residual_multiplier),
        lo_(spec.lo),
        hi_(spec.hi) {
    cost_ = conv2d_cost(spec);
  }

  Status pack(const Conv2dSpec& spec);

  size_t packed_bytes() const override { return packed_.size() + padding_.size(); }
  std::unique_ptr<OpPlan> plan(size_t batch, size_t threads) const override;

  // Tiles are output rows of all pictures, each cut into `parts` ranges of channels.
  void run_tiles(const OpBuffers& buffers, Range tiles, size_t parts, const uint8_t** rows) const;

 private:
  void find_rows(const uint8_t* picture, int64_t oy, const uint8_t** rows) const;

  const DwconvKernel& kernel_;
  DwconvGeometry geometry_;
  WindowAxis y_;
  WindowAxis x_;
  const Tensor& input_;
  const Tensor& output_;
  const Tensor* residual_;
  float residual_multiplier_;
  int32_t lo_;
  int32_t hi_;
  AlignedBuffer packed_;
  AlignedBuffer padding_;  // a picture row of zero points
};

class ConvDepthwisePlan final : public OpPlan {
 public:
  ConvDepthwisePlan(const ConvDepthwiseOp& op, size_t rows, size_t parts, size_t kernel_h)
      : OpPlan(rows * parts, kernel_h * sizeof(const uint8_t*)), op_(op), parts_(parts) {}

  void run(const OpBuffers& buffers, size_t first, size_t last, std::byte* scratch) const override {
    op_.run_tiles(buffers, {first, last}, parts_, reinterpret_cast<const uint8_t**>(scratch));
  }

 private:
  const ConvDepthwiseOp& op_;
  size_t parts_;
};

Status ConvDepthwiseOp::pack(const Conv2dSpec& spec) {
  DwconvPackInput input = {};
  input.geometry = geometry_;
  input.channels = output_.channels;
  input.zero_point = input_.zero_point;
  input.weights = spec.weights.data();
  input.bias = spec.bias.empty() ? nullptr : spec.bias.data();
  input.multipliers = spec.multipliers.data();
  input.float_bias = spec.float_bias.empty() ? nullptr : spec.float_bias.data();
  auto packed = AlignedBuffer::allocate(dwconv_packed_bytes(kernel_.layout, input),
                                        format::cat("the packed weights of ", name()));
  if (!packed.ok()) return packed.status();
  packed_ = std::move(packed).value();
  cost_.weight_bytes = packed_.size();
  dwconv_pack(kernel_.layout, input, packed_.data());

  auto padding = AlignedBuffer::allocate(input_.width * input_.layout.pixel_stride + kTensorSlack,
                                         format::cat("the padding row of ", name()));
  if (!padding.ok()) return padding.status();
  padding_ = std::move(padding).value();
  std::memset(padding_.data(), input_.zero_point, padding_.size());
  return Status();
}

std::unique_ptr<OpPlan> ConvDepthwiseOp::plan(size_t batch, size_t threads) const {
  const size_t rows = batch * output_.height;
  const size_t blocks = ceil_div(output_.channels, kernel_.layout.block());
  const size_t wanted = threads > 1 ? ceil_div(kTilesPerThread * threads, rows) : 1;
  return std::make_unique<ConvDepthwisePlan>(*this, rows, std::min(blocks, wanted),
                                             geometry_.kernel_h);
}

// Input rows under the window of output row oy; outside the picture there are zero points.
void ConvDepthwiseOp::find_rows(const uint8_t* picture, int64_t oy, const uint8_t** rows) const {
  for (int64_t ky = 0; ky < y_.kernel; ++ky) {
    const int64_t iy = y_.position(oy, ky);
    rows[ky] = iy >= 0 && iy < y_.in
                   ? picture + iy * static_cast<ptrdiff_t>(input_.layout.row_stride)
                   : padding_.as<const uint8_t>();
  }
}

void ConvDepthwiseOp::run_tiles(const OpBuffers& buffers, Range tiles, size_t parts,
                                const uint8_t** rows) const {
  const auto* origin = reinterpret_cast<const uint8_t*>(buffers.inputs[0]) + input_.layout.origin;
  const bool head = output_.dtype == format::DType::kF32;
  const DwconvRowFn run_row = head ? kernel_.run_f32 : kernel_.run_u8;
  const size_t block = kernel_.layout.block();
  const size_t group_bytes = dwconv_group_bytes(kernel_.layout, geometry_);

  DwconvRow args = {};
  args.geometry = geometry_;
  args.width = output_.width;
  args.rows = rows;
  args.in_width = input_.width;
  args.pixel_stride = input_.layout.pixel_stride;
  args.first_column = x_.position(0, 0);
  args.out_stride = output_.layout.pixel_stride;
  args.residual_stride = residual_ != nullptr ? residual_->layout.pixel_stride : 0;
  args.residual_multiplier = residual_multiplier_;
  args.residual_zero_point = residual_ != nullptr ? residual_->zero_point : 0;
  args.zero_point = output_.zero_point;
  args.lo = lo_;
  args.hi = hi_;

  for (size_t tile = tiles.begin; tile < tiles.end; ++tile) {
    const size_t row = tile / parts;
    const Range blocks = split_evenly(ceil_div(output_.channels, block), parts, tile % parts);
    const size_t channel = blocks.begin * block;
    args.channels = std::min(blocks.end * block, output_.channels) - channel;
    args.packed = packed_.data() + blocks.begin * group_bytes;
    args.padding = padding_.as<const uint8_t>() + channel;
    args.out = buffers.outputs[0] + output_.layout.origin + row * output_.layout.row_stride +
               channel * output_.element_bytes();
    if (residual_ != nullptr) {
      args.residual = reinterpret_cast<const uint8_t*>(buffers.inputs[1]) +
                      residual_->layout.origin + row * residual_->layout.row_stride + channel;
    }
    find_rows(origin + row / output_.height * input_.layout.picture_stride + channel,
              static_cast<int64_t>(row % output_.height), rows);
    run_row(args);
  }
}

}  // namespace

bool is_depthwise(const Conv2dSpec& spec) {
  return spec.groups == spec.input->channels && spec.groups == spec.output->channels &&
         spec.groups > 1;
}

Result<std::unique_ptr<Op>> make_conv2d_depthwise(const Conv2dSpec& spec) {
  const bool head = spec.output->dtype == format::DType::kF32;
  const DwconvKernel& kernel =
      find_dwconv(*spec.kernels, geometry_of(spec), head ? DwconvOutput::kF32 : DwconvOutput::kU8);
  auto op = std::make_unique<ConvDepthwiseOp>(spec, kernel);
  WBCQ_RETURN_IF_ERROR(op->pack(spec));
  return std::unique_ptr<Op>(std::move(op));
}

}  // namespace wbcq
