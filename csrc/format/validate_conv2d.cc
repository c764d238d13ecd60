#include <cmath>
#include <limits>

#include "format/limits.h"
#include "format/names.h"
#include "format/validate.h"

namespace wbcq::format {
namespace {

enum Blob { kWeight, kBias, kWeightScale };

Status check_blob_shape(const ModelFile& file, const std::string& label, uint32_t blob,
                        std::string_view role, DType dtype, std::initializer_list<int64_t> dims) {
  const BlobRecord& record = file.blobs()[blob];
  if (record.dtype != static_cast<uint8_t>(dtype)) {
    return invalid_file(label, ": ", role, " is ", dtype_name(record.dtype), ", must be ",
                        dtype_name(static_cast<uint8_t>(dtype)));
  }
  bool equal = record.rank == dims.size();
  std::string expected;
  size_t i = 0;
  for (const int64_t dim : dims) {
    equal = equal && record.dims[i++] == dim;
    expected += cat(expected.empty() ? "" : ", ", dim);
  }
  if (equal) return Status();
  std::string actual = cat(record.dims[0]);
  for (i = 1; i < record.rank; ++i) actual += cat(", ", record.dims[i]);
  return invalid_file(label, ": ", role, " has shape [", actual, "], must be [", expected, "]");
}

struct WeightSums {
  int64_t positive = 0;
  int64_t negative = 0;  // of the absolute values
  bool has_minus_128 = false;
};

// Loading a model reads every weight here: blocks of a fixed size make -O2 vectorize it.
WeightSums sum_weights(std::span<const int8_t> weights) {
  constexpr size_t kBlock = 64;
  int64_t sum = 0;
  int64_t absolute = 0;
  bool has_minus_128 = false;
  const auto add = [&](const int8_t* values, size_t count) {
    int32_t block_sum = 0;
    int32_t block_absolute = 0;
    int32_t minus_128s = 0;
    for (size_t i = 0; i < count; ++i) {
      const int32_t value = values[i];
      block_sum += value;
      block_absolute += value < 0 ? -value : value;
      minus_128s += value == -128 ? 1 : 0;
    }
    sum += block_sum;
    absolute += block_absolute;
    has_minus_128 = has_minus_128 || minus_128s != 0;
  };
  for (; weights.size() >= kBlock; weights = weights.subspan(kBlock)) add(weights.data(), kBlock);
  add(weights.data(), weights.size());
  return {(absolute + sum) / 2, (absolute - sum) / 2, has_minus_128};
}

// The accumulator of a channel fits int32 for every input: it lies in
//   bias + [-z P - (255 - z) N, (255 - z) P + z N]
// where P and N are the sums of positive and of negated negative weights and z is the zero point.
Status check_accumulators(const ModelFile& file, const OpRecord& op, const std::string& label) {
  const std::span<const uint32_t> blobs = file.op_blobs(op);
  const TensorRecord& x = file.tensors()[file.op_inputs(op)[0]];
  const std::span<const int8_t> weights = file.blob_values<int8_t>(blobs[kWeight]);
  const size_t channels = file.blobs()[blobs[kWeight]].dims[0];
  const size_t per_channel = weights.size() / channels;
  std::span<const int32_t> bias;
  if (file.blobs()[blobs[kBias]].dtype == static_cast<uint8_t>(DType::kI32)) {
    bias = file.blob_values<int32_t>(blobs[kBias]);
  }
  const int64_t z = x.zero_point;
  for (size_t c = 0; c < channels; ++c) {
    const WeightSums sums = sum_weights(weights.subspan(c * per_channel, per_channel));
    if (sums.has_minus_128) {
      return invalid_file(label, ": a weight of channel ", c, " is -128, must be -127..127");
    }
    const int64_t start = bias.empty() ? 0 : bias[c];
    const int64_t least = start - z * sums.positive - (255 - z) * sums.negative;
    const int64_t most = start + (255 - z) * sums.positive + z * sums.negative;
    if (least < std::numeric_limits<int32_t>::min() || most > std::numeric_limits<int32_t>::max()) {
      return invalid_file(label, ": the accumulator of channel ", c, " can reach ", least, "..",
                          most, ", which int32 does not hold: use a larger weight scale");
    }
  }
  return Status();
}

Status check_scales(const ModelFile& file, const OpRecord& op, const std::string& label) {
  const std::span<const uint32_t> blobs = file.op_blobs(op);
  const std::span<const TensorRecord> tensors = file.tensors();
  const std::span<const float> scales = file.blob_values<float>(blobs[kWeightScale]);
  const float x_scale = tensors[file.op_inputs(op)[0]].scale;
  const TensorRecord& y = tensors[file.op_outputs(op)[0]];
  const bool is_head = y.dtype == static_cast<uint8_t>(DType::kF32);
  for (size_t c = 0; c < scales.size(); ++c) {
    if (!(scales[c] > 0) || !std::isfinite(scales[c])) {
      return invalid_file(label, ": weight_scale[", c, "] is ", scales[c],
                          ", must be positive and finite");
    }
    const float product = x_scale * scales[c];
    const float multiplier = is_head ? product : product / y.scale;
    if (!(multiplier < kMultiplierBound)) {
      return check_multiplier(label, multiplier, cat("the multiplier of channel ", c));
    }
  }
  return Status();
}

Status check_residual(const ModelFile& file, const OpRecord& op, const std::string& label) {
  const uint32_t residual = file.op_inputs(op)[1];
  const TensorRecord& r = file.tensors()[residual];
  const TensorRecord& y = file.tensors()[file.op_outputs(op)[0]];
  if (r.dtype != static_cast<uint8_t>(DType::kU8)) {
    return invalid_file(label, ": residual ", tensor_label(file, residual), " must be u8");
  }
  for (int i = 1; i < 4; ++i) {
    if (r.dims[i] != y.dims[i]) {
      return invalid_file(label, ": residual ", tensor_label(file, residual),
                          " must have the output's shape: dims[", i, "] is ", r.dims[i], ", not ",
                          y.dims[i]);
    }
  }
  return check_multiplier(label, r.scale / y.scale, "scale of the residual / scale of y");
}

}  // namespace

Status validate_conv2d(const ModelFile& file, const OpRecord& op, const std::string& label) {
  const TensorRecord& x = file.tensors()[file.op_inputs(op)[0]];
  const TensorRecord& y = file.tensors()[file.op_outputs(op)[0]];
  const int32_t* attrs = op.attrs;
  const bool is_head = y.dtype == static_cast<uint8_t>(DType::kF32);
  if (x.dtype != static_cast<uint8_t>(DType::kU8)) {
    return invalid_file(label, ": ", tensor_label(file, file.op_inputs(op)[0]), " is ",
                        dtype_name(x.dtype), ", must be u8");
  }
  if (attrs[conv2d::kLo] > attrs[conv2d::kHi]) {
    return invalid_file(label, ": lo is ", attrs[conv2d::kLo], ", must be at most hi, ",
                        attrs[conv2d::kHi]);
  }
  if (is_head && (attrs[conv2d::kLo] != 0 || attrs[conv2d::kHi] != 255)) {
    return invalid_file(label, ": lo and hi must be 0 and 255 for an f32 output");
  }
  if (is_head && op.inputs == 2) {
    return invalid_file(label, ": an f32 output cannot have a residual");
  }

  const int64_t in_channels = x.dims[3];
  const int64_t out_channels = y.dims[3];
  const int64_t groups = attrs[conv2d::kGroups];
  if (in_channels % groups != 0 || out_channels % groups != 0) {
    return invalid_file(label, ": groups is ", groups, ", must divide ", in_channels, " input and ",
                        out_channels, " output channels");
  }
  for (int i = 0; i < 2; ++i) {
    const Axis axis = window_axis(file, op, i);
    if (axis.out != axis.whole_windows()) {
      return invalid_file(label, ": output ", i == 0 ? "height" : "width", " is ", axis.out,
                          ", the geometry gives ", axis.whole_windows());
    }
  }

  const std::span<const uint32_t> blobs = file.op_blobs(op);
  WBCQ_RETURN_IF_ERROR(check_blob_shape(
      file, label, blobs[kWeight], "weight", DType::kI8,
      {out_channels, attrs[conv2d::kKernelH], attrs[conv2d::kKernelW], in_channels / groups}));
  WBCQ_RETURN_IF_ERROR(check_blob_shape(file, label, blobs[kBias], "bias",
                                        is_head ? DType::kF32 : DType::kI32, {out_channels}));
  const BlobRecord& scale_record = file.blobs()[blobs[kWeightScale]];
  const bool per_tensor = scale_record.rank == 1 && scale_record.dims[0] == 1;
  WBCQ_RETURN_IF_ERROR(check_blob_shape(file, label, blobs[kWeightScale], "weight_scale",
                                        DType::kF32, {per_tensor ? 1 : out_channels}));
  if (is_head) {
    const std::span<const float> bias = file.blob_values<float>(blobs[kBias]);
    for (size_t c = 0; c < bias.size(); ++c) {
      if (!std::isfinite(bias[c])) {
        return invalid_file(label, ": bias[", c, "] is ", bias[c], ", must be finite");
      }
    }
  }
  WBCQ_RETURN_IF_ERROR(check_scales(file, op, label));
  if (op.inputs == 2) WBCQ_RETURN_IF_ERROR(check_residual(file, op, label));
  return check_accumulators(file, op, label);
}

}  // namespace wbcq::format
