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
        output_(*spec.output),
        residual_(spec.residual),
        residual_multiplier_(spec.residual_multiplier),
        rounding_(*spec.rounding) {
    cost_ = conv2d_cost(spec);
    if (kernel.band_rows >= geometry_.kernel_h && y_.dilation == 1 && residual_ == nullptr) {
      const size_t fit = (kernel.band_rows - geometry_.kernel_h) / static_cast<size_t>(y_.stride);
      band_height_ = std::min(fit + 1, output_.height);
    }
    for (const Tensor* input : spec.inputs) slices_.push_back({input, 0, 0, 0});
  }

  // Blocks of the kernel's channels, of one input.
  struct Part {
    size_t slice;
    Range blocks;
  };

  Status pack(const Conv2dSpec& spec);

  size_t packed_bytes() const override { return packed_.size() + padding_.size(); }
  std::unique_ptr<OpPlan> plan(size_t batch, size_t threads) const override;

  // Tiles are bands of output rows, counted through all pictures, each cut into parts.
  void run_tiles(const OpBuffers& buffers, Range tiles, std::span<const Part> parts,
                 const uint8_t** rows) const;

 private:
  // The channels of one input.
  struct Slice {
    const Tensor* input;
    size_t first;    // in the output
    size_t packed;   // where its weights begin
    size_t padding;  // where its padding row begins
  };

  DwconvPackInput pack_input(const Conv2dSpec& spec, const Slice& slice) const;
  void find_rows(const Slice& slice, const std::byte* picture, size_t channel, size_t oy,
                 size_t height, const uint8_t** rows) const;
  size_t bands() const { return ceil_div(output_.height, band_height_); }  // of a picture
  size_t input_rows(size_t height) const {
    return (height - 1) * static_cast<size_t>(y_.stride) + geometry_.kernel_h;
  }

  const DwconvKernel& kernel_;
  DwconvGeometry geometry_;
  WindowAxis y_;
  WindowAxis x_;
  const Tensor& output_;
  const Tensor* residual_;
  float residual_multiplier_;
  Rounding rounding_;
  size_t band_height_ = 1;  // output rows of a call of the kernel
  std::vector<Slice> slices_;
  AlignedBuffer packed_;
  AlignedBuffer padding_;  // for each input a picture row of zero points
};

class ConvDepthwisePlan final : public OpPlan {
 public:
  ConvDepthwisePlan(const ConvDepthwiseOp& op, size_t bands,
                    std::vector<ConvDepthwiseOp::Part> parts, size_t input_rows)
      : OpPlan(bands * parts.size(), input_rows * sizeof(const uint8_t*)),
        op_(op),
        parts_(std::move(parts)) {}

  void run(const OpBuffers& buffers, size_t first, size_t last, std::byte* scratch) const override {
    op_.run_tiles(buffers, {first, last}, parts_, reinterpret_cast<const uint8_t**>(scratch));
  }

 private:
  const ConvDepthwiseOp& op_;
  std::vector<ConvDepthwiseOp::Part> parts_;
};

DwconvPackInput ConvDepthwiseOp::pack_input(const Conv2dSpec& spec, const Slice& slice) const {
  DwconvPackInput input = {};
  input.geometry = geometry_;
  input.channels = slice.input->channels;
  input.zero_point = slice.input->zero_point;
  input.weights = spec.weights.data() + slice.first * spec.taps();
  input.bias = spec.bias.empty() ? nullptr : spec.bias.data() + slice.first;
  input.multipliers = spec.multipliers.data() + slice.first;
  input.float_bias = spec.float_bias.empty() ? nullptr : spec.float_bias.data() + slice.first;
  return input;
}

Status ConvDepthwiseOp::pack(const Conv2dSpec& spec) {
  size_t channel = 0;
  CheckedSize packed_bytes = 0;
  CheckedSize padding_bytes = 0;
  const auto padding_row = [](const Tensor& input) {
    return round_up(input.width * input.layout.pixel_stride + kTensorSlack, kBufferAlignment);
  };
  for (Slice& slice : slices_) {
    slice.first = channel;
    slice.packed = packed_bytes.value();
    slice.padding = padding_bytes.value();
    channel += slice.input->channels;
    packed_bytes = packed_bytes + dwconv_packed_bytes(kernel_.layout, pack_input(spec, slice));
    padding_bytes = padding_bytes + padding_row(*slice.input);
  }
  auto packed =
      AlignedBuffer::allocate(packed_bytes.value(), format::cat("the packed weights of ", name()));
  if (!packed.ok()) return packed.status();
  packed_ = std::move(packed).value();
  cost_.weight_bytes = packed_.size();
  auto padding =
      AlignedBuffer::allocate(padding_bytes.value(), format::cat("the padding row of ", name()));
  if (!padding.ok()) return padding.status();
  padding_ = std::move(padding).value();
  for (const Slice& slice : slices_) {
    dwconv_pack(kernel_.layout, pack_input(spec, slice), packed_.data() + slice.packed);
    std::memset(padding_.data() + slice.padding, slice.input->zero_point,
                padding_row(*slice.input));
  }
  return Status();
}

std::unique_ptr<OpPlan> ConvDepthwiseOp::plan(size_t batch, size_t threads) const {
  const size_t all_bands = batch * bands();
  const size_t wanted = threads > 1 ? ceil_div(kTilesPerThread * threads, all_bands) : 1;
  std::vector<Part> parts;
  for (size_t s = 0; s < slices_.size(); ++s) {
    const size_t blocks = ceil_div(slices_[s].input->channels, kernel_.layout.block());
    const size_t count = std::min(blocks, ceil_div(wanted, slices_.size()));
    for (size_t i = 0; i < count; ++i) parts.push_back({s, split_evenly(blocks, count, i)});
  }
  return std::make_unique<ConvDepthwisePlan>(*this, all_bands, std::move(parts),
                                             input_rows(band_height_));
}

// Input rows under the windows of the output rows from oy on; outside the picture there are zero
// points.
void ConvDepthwiseOp::find_rows(const Slice& slice, const std::byte* picture, size_t channel,
                                size_t oy, size_t height, const uint8_t** rows) const {
  const auto row_stride = static_cast<ptrdiff_t>(slice.input->layout.row_stride);
  for (size_t i = 0; i < input_rows(height); ++i) {
    const int64_t iy = y_.position(static_cast<int64_t>(oy), 0) +
                       static_cast<int64_t>(i) * (height == 1 ? y_.dilation : 1);
    const bool inside = iy >= 0 && iy < y_.in;
    const std::byte* row = inside ? picture + iy * row_stride : padding_.data() + slice.padding;
    rows[i] = reinterpret_cast<const uint8_t*>(row + channel);
  }
}

void ConvDepthwiseOp::run_tiles(const OpBuffers& buffers, Range tiles, std::span<const Part> parts,
                                const uint8_t** rows) const {
  const bool head = output_.dtype == format::DType::kF32;
  const DwconvRowFn run_row = head ? kernel_.run_f32 : kernel_.run_u8;
  const size_t block = kernel_.layout.block();
  const size_t group_bytes = dwconv_group_bytes(kernel_.layout, geometry_);

  DwconvRow args = {};
  args.geometry = geometry_;
  args.width = output_.width;
  args.row_step = static_cast<size_t>(y_.stride);
  args.rows = rows;
  args.first_column = x_.position(0, 0);
  args.out_stride = output_.layout.pixel_stride;
  args.out_row_stride = output_.layout.row_stride;
  args.residual_stride = residual_ != nullptr ? residual_->layout.pixel_stride : 0;
  args.residual_multiplier = residual_multiplier_;
  args.residual_zero_point = residual_ != nullptr ? residual_->zero_point : 0;
  args.zero_point = rounding_.zero_point();
  args.lo = rounding_.lo();
  args.hi = rounding_.hi();

  for (size_t tile = tiles.begin; tile < tiles.end; ++tile) {
    const size_t band = tile / parts.size();
    const size_t oy = band % bands() * band_height_;
    const size_t row = band / bands() * output_.height + oy;
    const Part& part = parts[tile % parts.size()];
    const Slice& slice = slices_[part.slice];
    const Tensor& input = *slice.input;
    const size_t channel = part.blocks.begin * block;  // of the input
    args.height = std::min(band_height_, output_.height - oy);
    args.in_width = input.width;
    args.pixel_stride = input.layout.pixel_stride;
    args.channels = std::min(part.blocks.end * block, input.channels) - channel;
    args.packed = packed_.data() + slice.packed + part.blocks.begin * group_bytes;
    args.padding = padding_.as<const uint8_t>() + slice.padding + channel;
    args.out = buffers.outputs[0] + output_.row_offset(row) +
               (slice.first + channel) * output_.element_bytes();
    if (residual_ != nullptr) {
      args.residual = reinterpret_cast<const uint8_t*>(buffers.inputs.back()) +
                      residual_->row_offset(row) + slice.first + channel;
    }
    const std::byte* picture = buffers.inputs[part.slice] + input.layout.origin +
                               row / output_.height * input.layout.picture_stride;
    find_rows(slice, picture, channel, oy, args.height, rows);
    run_row(args);
    for (size_t y = 0; rounding_.has_table() && y < args.height; ++y) {
      rounding_.apply_table(static_cast<uint8_t*>(args.out) + y * args.out_row_stride,
                            args.out_stride, args.width, args.channels);
    }
  }
}

}  // namespace

bool is_depthwise(const Conv2dSpec& spec) {
  return spec.groups == spec.in_channels() && spec.groups == spec.output->channels &&
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
