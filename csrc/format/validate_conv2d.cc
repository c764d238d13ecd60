#include <cmath>
#include <limits>

#include "format/limits.h"
#include "format/names.h"
#include "format/sparse_blob.h"
#include "format/validate.h"

namespace wbcq::format {
namespace {

enum Blob { kWeight, kBias, kWeightScale };

bool is_head(const ModelFile& file, const OpRecord& op) {
  return !is_f32(file.tensors()[file.op_inputs(op)[0]]) &&
         is_f32(file.tensors()[file.op_outputs(op)[0]]);
}

// Of all inputs together.
int64_t input_channels(const ModelFile& file, const OpRecord& op) {
  int64_t channels = 0;
  for (const uint32_t x : file.conv2d_inputs(op)) channels += file.tensors()[x].dims[3];
  return channels;
}

// Each output channel reads one input channel, its own.
bool is_depthwise(const ModelFile& file, const OpRecord& op) {
  const int32_t groups = op.attrs[conv2d::kGroups];
  return groups > 1 && groups == input_channels(file, op) &&
         groups == file.tensors()[file.op_outputs(op)[0]].dims[3];
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

// The weights of a convolution in their order, less the zeros that the file leaves out: no sum
// misses them.
class WeightRuns {
 public:
  WeightRuns(const ModelFile& file, uint32_t blob)
      : counter_(file.blobs()[blob], file.blob_bytes(blob).data()),
        left_(file.blob_values<int8_t>(blob)) {}

  std::span<const int8_t> next(size_t weights) {
    const std::span<const int8_t> run = left_.first(counter_.next(weights));
    left_ = left_.subspan(run.size());
    return run;
  }

 private:
  StoredCounter counter_;
  std::span<const int8_t> left_;
};

// What the accumulator of a channel can reach, without its bias: an input with zero point z adds
//   [-z P - (255 - z) N, (255 - z) P + z N]
// where P and N are the sums of the positive and of the negated negative weights that meet it.
struct Reach {
  int64_t least = 0;
  int64_t most = 0;
  bool has_minus_128 = false;

  void add(std::span<const int8_t> weights, int64_t z) {
    const WeightSums sums = sum_weights(weights);
    least -= z * sums.positive + (255 - z) * sums.negative;
    most += (255 - z) * sums.positive + z * sums.negative;
    has_minus_128 = has_minus_128 || sums.has_minus_128;
  }
};

Status check_reach(const ModelFile& file, const OpRecord& op, const std::string& label,
                   size_t channel, const Reach& reach) {
  if (reach.has_minus_128) {
    return invalid_file(label, ": a weight of channel ", channel, " is -128, must be -127..127");
  }
  const uint32_t bias = file.op_blobs(op)[kBias];
  const int64_t start = is_head(file, op) ? 0 : file.blob_values<int32_t>(bias)[channel];
  const int64_t least = start + reach.least;
  const int64_t most = start + reach.most;
  if (least < std::numeric_limits<int32_t>::min() || most > std::numeric_limits<int32_t>::max()) {
    return invalid_file(label, ": the accumulator of channel ", channel, " can reach ", least, "..",
                        most, ", which int32 does not hold: use a larger weight scale");
  }
  return Status();
}

Status check_accumulators(const ModelFile& file, const OpRecord& op, const std::string& label) {
  const std::span<const uint32_t> inputs = file.conv2d_inputs(op);
  const uint32_t blob = file.op_blobs(op)[kWeight];
  const uint32_t* dims = file.blobs()[blob].dims;
  const size_t channels = dims[0];
  const size_t per_channel = size_t{dims[1]} * dims[2] * dims[3];
  WeightRuns weights(file, blob);
  if (inputs.size() == 1 || is_depthwise(file, op)) {
    // All weights of a channel meet the same input: the first, or the one that holds the channel.
    size_t input = 0;
    int64_t end = file.tensors()[inputs[0]].dims[3];
    for (size_t c = 0; c < channels; ++c) {
      if (inputs.size() > 1 && static_cast<int64_t>(c) == end) {
        end += file.tensors()[inputs[++input]].dims[3];
      }
      Reach reach;
      reach.add(weights.next(per_channel), file.tensors()[inputs[input]].zero_point);
      WBCQ_RETURN_IF_ERROR(check_reach(file, op, label, c, reach));
    }
    return Status();
  }
  for (size_t c = 0; c < channels; ++c) {
    Reach reach;
    for (size_t tap = 0; tap < size_t{dims[1]} * dims[2]; ++tap) {
      for (const uint32_t input : inputs) {
        const TensorRecord& x = file.tensors()[input];
        reach.add(weights.next(static_cast<size_t>(x.dims[3])), x.zero_point);
      }
    }
    WBCQ_RETURN_IF_ERROR(check_reach(file, op, label, c, reach));
  }
  return Status();
}

// `scale` is that of the result; a head has none.
Status check_scales(const ModelFile& file, const OpRecord& op, const std::string& label,
                    float scale) {
  const std::span<const float> scales = file.blob_values<float>(file.op_blobs(op)[kWeightScale]);
  for (size_t c = 0; c < scales.size(); ++c) {
    if (!(scales[c] > 0) || !std::isfinite(scales[c])) {
      return invalid_file(label, ": weight_scale[", c, "] is ", scales[c],
                          ", must be positive and finite");
    }
  }
  const bool head = is_head(file, op);
  const auto check = [&](size_t c, const TensorRecord& x) {
    const float product = x.scale * scales[scales.size() == 1 ? 0 : c];
    const float multiplier = head ? product : product / scale;
    return multiplier < kMultiplierBound
               ? Status()
               : check_multiplier(label, multiplier, cat("the multiplier of channel ", c));
  };
  const std::span<const uint32_t> inputs = file.conv2d_inputs(op);
  if (!is_depthwise(file, op)) {
    for (size_t c = 0; c < scales.size(); ++c) {
      WBCQ_RETURN_IF_ERROR(check(c, file.tensors()[inputs[0]]));
    }
    return Status();
  }
  size_t c = 0;
  for (const uint32_t input : inputs) {
    const TensorRecord& x = file.tensors()[input];
    for (int32_t i = 0; i < x.dims[3]; ++i) WBCQ_RETURN_IF_ERROR(check(c++, x));
  }
  return Status();
}

// `scale` is that of the result.
Status check_residual(const ModelFile& file, const OpRecord& op, const std::string& label,
                      float scale) {
  const uint32_t residual = file.conv2d_residual(op);
  const uint32_t output = file.op_outputs(op)[0];
  const TensorRecord& r = file.tensors()[residual];
  const TensorRecord& y = file.tensors()[output];
  if (r.dtype != y.dtype) {
    return invalid_file(label, ": residual ", tensor_label(file, residual), " must be ",
                        dtype_name(y.dtype));
  }
  for (int i = 1; i < 4; ++i) {
    if (r.dims[i] != y.dims[i]) {
      return invalid_file(label, ": residual ", tensor_label(file, residual),
                          " must have the output's shape: dims[", i, "] is ", r.dims[i], ", not ",
                          y.dims[i]);
    }
  }
  if (is_f32(y)) return Status();
  return check_multiplier(label, r.scale / scale, "scale of the residual / scale of the result");
}

Status check_inputs(const ModelFile& file, const OpRecord& op, const std::string& label) {
  const std::span<const uint32_t> inputs = file.conv2d_inputs(op);
  if (inputs.empty()) return invalid_file(label, ": its only input is the residual");
  const TensorRecord& first = file.tensors()[inputs[0]];
  for (const uint32_t input : inputs) {
    WBCQ_RETURN_IF_ERROR(check_same_dtype(file, label, inputs[0], input));
    const TensorRecord& x = file.tensors()[input];
    if (x.dims[1] != first.dims[1] || x.dims[2] != first.dims[2]) {
      return invalid_file(label, ": ", tensor_label(file, inputs[0]), " has shape ",
                          shape_text(first), " but ", tensor_label(file, input), " has ",
                          shape_text(x), ": inputs must agree in height and width");
    }
  }
  const int64_t in_channels = input_channels(file, op);
  const int64_t out_channels = file.tensors()[file.op_outputs(op)[0]].dims[3];
  const int64_t groups = op.attrs[conv2d::kGroups];
  if (in_channels % groups != 0 || out_channels % groups != 0) {
    return invalid_file(label, ": groups is ", groups, ", must divide ", in_channels, " input and ",
                        out_channels, " output channels");
  }
  if (inputs.size() > 1 && groups > 1 && !is_depthwise(file, op)) {
    return invalid_file(label, ": ", inputs.size(), " inputs with ", groups,
                        " groups: several inputs need 1 group, or as many as input and output "
                        "channels");
  }
  return Status();
}

Status check_geometry(const ModelFile& file, const OpRecord& op, const std::string& label) {
  for (int i = 0; i < 2; ++i) {
    const Axis axis = window_axis(file, op, i);
    if (axis.out != axis.whole_windows()) {
      return invalid_file(label, ": output ", i == 0 ? "height" : "width", " is ", axis.out,
                          ", the geometry gives ", axis.whole_windows());
    }
  }
  return Status();
}

Status check_constants(const ModelFile& file, const OpRecord& op, const std::string& label,
                       DType weight, DType bias) {
  const int32_t* attrs = op.attrs;
  const std::span<const uint32_t> blobs = file.op_blobs(op);
  const int64_t out_channels = file.tensors()[file.op_outputs(op)[0]].dims[3];
  WBCQ_RETURN_IF_ERROR(
      check_blob_shape(file, label, blobs[kWeight], "weight", weight,
                       {out_channels, attrs[conv2d::kKernelH], attrs[conv2d::kKernelW],
                        input_channels(file, op) / attrs[conv2d::kGroups]}));
  WBCQ_RETURN_IF_ERROR(check_blob_shape(file, label, blobs[kBias], "bias", bias, {out_channels}));
  return bias == DType::kF32 ? check_finite(file, label, blobs[kBias], "bias") : Status();
}

constexpr RequantizeAttrs kRequantizeAttrs = {conv2d::kLo, conv2d::kHi, conv2d::kPreScale,
                                              conv2d::kPreZeroPoint};

Status check_f32(const ModelFile& file, const OpRecord& op, const std::string& label) {
  WBCQ_RETURN_IF_ERROR(check_dtype(file, label, file.op_outputs(op)[0], DType::kF32));
  WBCQ_RETURN_IF_ERROR(check_constants(file, op, label, DType::kF32, DType::kF32));
  WBCQ_RETURN_IF_ERROR(check_finite(file, label, file.op_blobs(op)[kWeight], "weight"));
  float scale = 0;
  return check_requantize(file, op, label, kRequantizeAttrs, false, scale);
}

Status check_u8(const ModelFile& file, const OpRecord& op, const std::string& label, float& scale) {
  const bool head = is_head(file, op);
  const bool has_table = op.blobs > kWeightScale + 1;
  WBCQ_RETURN_IF_ERROR(check_requantize(file, op, label, kRequantizeAttrs, has_table, scale));
  if (head && (op.attrs[conv2d::kLo] != 0 || op.attrs[conv2d::kHi] != 255 || has_table)) {
    return invalid_file(label, ": lo and hi must be 0 and 255, and no table, for an f32 output");
  }
  if (head && file.conv2d_residual(op) != kNone) {
    return invalid_file(label, ": an f32 output cannot have a residual");
  }
  WBCQ_RETURN_IF_ERROR(
      check_constants(file, op, label, DType::kI8, head ? DType::kF32 : DType::kI32));
  const uint32_t scales = file.op_blobs(op)[kWeightScale];
  const BlobRecord& record = file.blobs()[scales];
  const bool per_tensor = record.rank == 1 && record.dims[0] == 1;
  const int64_t out_channels = file.tensors()[file.op_outputs(op)[0]].dims[3];
  WBCQ_RETURN_IF_ERROR(check_blob_shape(file, label, scales, "weight_scale", DType::kF32,
                                        {per_tensor ? 1 : out_channels}));
  WBCQ_RETURN_IF_ERROR(check_scales(file, op, label, scale));
  return check_accumulators(file, op, label);
}

}  // namespace

Status validate_conv2d(const ModelFile& file, const OpRecord& op, const std::string& label) {
  WBCQ_RETURN_IF_ERROR(check_inputs(file, op, label));
  WBCQ_RETURN_IF_ERROR(check_geometry(file, op, label));
  float scale = 0;
  if (is_f32(file.tensors()[file.op_inputs(op)[0]])) {
    WBCQ_RETURN_IF_ERROR(check_f32(file, op, label));
  } else {
    WBCQ_RETURN_IF_ERROR(check_u8(file, op, label, scale));
  }
  return file.conv2d_residual(op) == kNone ? Status() : check_residual(file, op, label, scale);
}

}  // namespace wbcq::format
