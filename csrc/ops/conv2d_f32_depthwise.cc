// Depthwise convolution in float: one filter for each channel, a row of outputs at a time.
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/aligned_buffer.h"
#include "format/message.h"
#include "kernels/dwconv_f32/pack.h"
#include "ops/conv2d_f32.h"
#include "ops/row_plan.h"

namespace wbcq {
namespace {

class ConvDepthwiseF32Op final : public Op {
 public:
  explicit ConvDepthwiseF32Op(const Conv2dF32Spec& spec)
      : Op(spec.name, "conv2d", spec.kernels->dwconv_f32->name),
        kernel_(*spec.kernels->dwconv_f32),
        geometry_{static_cast<size_t>(spec.y.kernel), static_cast<size_t>(spec.x.kernel),
                  static_cast<size_t>(spec.x.stride), static_cast<size_t>(spec.x.dilation)},
        y_(spec.y),
        x_(spec.x),
        output_(*spec.output),
        residual_(spec.residual),
        lo_(spec.lo),
        hi_(spec.hi) {
    for (const Tensor* input : spec.inputs) slices_.push_back({input, 0, 0});
    cost_ = conv2d_f32_cost(spec);
  }

  Status pack(const Conv2dF32Spec& spec);

  size_t packed_bytes() const override { return packed_.size() + padding_.size(); }
  std::unique_ptr<OpPlan> plan(size_t batch, size_t /*threads*/) const override {
    return std::make_unique<RowPlan<ConvDepthwiseF32Op>>(*this, batch * output_.height,
                                                         geometry_.kernel_h * sizeof(const float*));
  }

  void run_rows(const OpBuffers& buffers, size_t first, size_t last, std::byte* scratch) const;

 private:
  // The channels of one input.
  struct Slice {
    const Tensor* input;
    size_t first;   // in the output
    size_t packed;  // where its weights begin
  };

  const DwconvF32Kernel& kernel_;
  DwconvGeometry geometry_;
  WindowAxis y_;
  WindowAxis x_;
  const Tensor& output_;
  const Tensor* residual_;
  float lo_;
  float hi_;
  std::vector<Slice> slices_;
  AlignedBuffer packed_;
  AlignedBuffer padding_;  // a picture row of zeros, as long as the longest
};

Status ConvDepthwiseF32Op::pack(const Conv2dF32Spec& spec) {
  const auto pack_input = [&](const Slice& slice) {
    return DwconvF32PackInput{geometry_, slice.input->channels,
                              spec.weights.data() + slice.first * spec.taps(),
                              spec.bias.data() + slice.first};
  };
  size_t channel = 0;
  size_t padding_bytes = 0;
  CheckedSize bytes = 0;
  for (Slice& slice : slices_) {
    slice.first = channel;
    slice.packed = bytes.value();
    channel += slice.input->channels;
    bytes = bytes + dwconv_f32_packed_bytes(kernel_, pack_input(slice));
    padding_bytes = std::max(padding_bytes, slice.input->width * slice.input->layout.pixel_stride);
  }
  auto packed =
      AlignedBuffer::allocate(bytes.value(), format::cat("the packed weights of ", name()));
  if (!packed.ok()) return packed.status();
  packed_ = std::move(packed).value();
  cost_.weight_bytes = packed_.size();
  for (const Slice& slice : slices_) {
    dwconv_f32_pack(kernel_, pack_input(slice), packed_.data() + slice.packed);
  }
  auto padding = AlignedBuffer::allocate(padding_bytes, format::cat("the padding row of ", name()));
  if (!padding.ok()) return padding.status();
  padding_ = std::move(padding).value();
  std::memset(padding_.data(), 0, padding_.size());
  return Status();
}

void ConvDepthwiseF32Op::run_rows(const OpBuffers& buffers, size_t first, size_t last,
                                  std::byte* scratch) const {
  auto** rows = reinterpret_cast<const float**>(scratch);
  DwconvF32Row args = {};
  args.geometry = geometry_;
  args.width = output_.width;
  args.rows = rows;
  args.first_column = x_.position(0, 0);
  args.padding = padding_.as<const float>();
  args.out_stride = output_.layout.pixel_stride / sizeof(float);
  args.lo = lo_;
  args.hi = hi_;
  for (size_t row = first; row < last; ++row) {
    for (size_t s = 0; s < slices_.size(); ++s) {
      const Slice& slice = slices_[s];
      const Tensor& input = *slice.input;
      const size_t picture = row / output_.height * input.height;
      for (int64_t ky = 0; ky < y_.kernel; ++ky) {
        const int64_t iy = y_.position(static_cast<int64_t>(row % output_.height), ky);
        rows[ky] =
            iy >= 0 && iy < y_.in
                ? reinterpret_cast<const float*>(
                      buffers.inputs[s] + input.row_offset(picture + static_cast<size_t>(iy)))
                : args.padding;
      }
      args.in_width = input.width;
      args.pixel_stride = input.layout.pixel_stride / sizeof(float);
      args.channels = input.channels;
      args.packed = reinterpret_cast<const float*>(packed_.data() + slice.packed);
      args.out =
          reinterpret_cast<float*>(buffers.outputs[0] + output_.row_offset(row)) + slice.first;
      if (residual_ != nullptr) {
        args.residual_stride = residual_->layout.pixel_stride / sizeof(float);
        args.residual =
            reinterpret_cast<const float*>(buffers.inputs.back() + residual_->row_offset(row)) +
            slice.first;
      }
      kernel_.run(args);
    }
  }
}

}  // namespace

Result<std::unique_ptr<Op>> make_conv2d_f32_depthwise(const Conv2dF32Spec& spec) {
  auto op = std::make_unique<ConvDepthwiseF32Op>(spec);
  WBCQ_RETURN_IF_ERROR(op->pack(spec));
  return std::unique_ptr<Op>(std::move(op));
}

}  // namespace wbcq
