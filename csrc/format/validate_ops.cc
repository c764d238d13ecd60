#include <algorithm>
#include <array>
#include <cmath>

#include "format/limits.h"
#include "format/names.h"
#include "format/validate.h"

namespace wbcq::format {
namespace {

std::string shape_text(const TensorRecord& tensor) {
  return cat("N, ", tensor.dims[1], ", ", tensor.dims[2], ", ", tensor.dims[3]);
}

Status check_dtype(const ModelFile& file, const std::string& label, uint32_t tensor, DType dtype) {
  const uint8_t actual = file.tensors()[tensor].dtype;
  if (actual == static_cast<uint8_t>(dtype)) return Status();
  return invalid_file(label, ": ", tensor_label(file, tensor), " is ", dtype_name(actual),
                      ", must be ", dtype_name(static_cast<uint8_t>(dtype)));
}

Status check_same_shape(const ModelFile& file, const std::string& label, uint32_t a, uint32_t b) {
  const TensorRecord& first = file.tensors()[a];
  const TensorRecord& second = file.tensors()[b];
  if (std::equal(std::begin(first.dims), std::end(first.dims), std::begin(second.dims))) {
    return Status();
  }
  return invalid_file(label, ": ", tensor_label(file, a), " has shape ", shape_text(first), " but ",
                      tensor_label(file, b), " has ", shape_text(second));
}

Status check_clamp(const std::string& label, int32_t lo, int32_t hi) {
  if (lo <= hi) return Status();
  return invalid_file(label, ": lo is ", lo, ", must be at most hi, ", hi);
}

Status check_quantize(const ModelFile& file, const OpRecord& op, const std::string& label) {
  const uint32_t x = file.op_inputs(op)[0];
  const uint32_t y = file.op_outputs(op)[0];
  WBCQ_RETURN_IF_ERROR(check_dtype(file, label, x, DType::kF32));
  WBCQ_RETURN_IF_ERROR(check_dtype(file, label, y, DType::kU8));
  WBCQ_RETURN_IF_ERROR(check_same_shape(file, label, x, y));
  const float scale = file.tensors()[y].scale;
  if (!std::isfinite(1.0f / scale)) {
    return invalid_file(label, ": 1 / scale is not finite for scale ", scale);
  }
  return Status();
}

Status check_dequantize(const ModelFile& file, const OpRecord& op, const std::string& label) {
  const uint32_t x = file.op_inputs(op)[0];
  const uint32_t y = file.op_outputs(op)[0];
  WBCQ_RETURN_IF_ERROR(check_dtype(file, label, x, DType::kU8));
  WBCQ_RETURN_IF_ERROR(check_dtype(file, label, y, DType::kF32));
  return check_same_shape(file, label, x, y);
}

Status check_add(const ModelFile& file, const OpRecord& op, const std::string& label) {
  const uint32_t a = file.op_inputs(op)[0];
  const uint32_t b = file.op_inputs(op)[1];
  const uint32_t y = file.op_outputs(op)[0];
  for (const uint32_t tensor : {a, b, y}) {
    WBCQ_RETURN_IF_ERROR(check_dtype(file, label, tensor, DType::kU8));
    WBCQ_RETURN_IF_ERROR(check_same_shape(file, label, a, tensor));
  }
  const std::span<const TensorRecord> tensors = file.tensors();
  WBCQ_RETURN_IF_ERROR(
      check_multiplier(label, tensors[a].scale / tensors[y].scale, "scale of a / scale of y"));
  WBCQ_RETURN_IF_ERROR(
      check_multiplier(label, tensors[b].scale / tensors[y].scale, "scale of b / scale of y"));
  return check_clamp(label, op.attrs[add::kLo], op.attrs[add::kHi]);
}

// Every window of a pool holds at least one tap inside the picture, and one that leaves the padded
// picture (ceil mode) is the last and begins inside it.
Status check_pool_axis(const Axis& axis, const std::string& label, std::string_view name) {
  const int64_t whole = axis.whole_windows();
  const bool clipped = axis.out == whole + 1 && axis.room() > (whole - 1) * axis.stride &&
                       (axis.out - 1) * axis.stride < axis.in + axis.before;
  if (axis.out != whole && !clipped) {
    return invalid_file(label, ": output ", name, " is ", axis.out, ", the geometry gives ", whole,
                        " (or ", whole + 1, " in ceil mode, if a part of a window is left)");
  }
  if ((axis.out - 1) * axis.stride - axis.before >= axis.in) {
    return invalid_file(label, ": the last window along ", name,
                        " lies in the padding: reduce the padding");
  }
  for (int64_t start = -axis.before; start < 0 && start + axis.before < axis.out * axis.stride;
       start += axis.stride) {
    const int64_t tap = (-start + axis.dilation - 1) / axis.dilation;
    if (tap >= axis.kernel || start + tap * axis.dilation >= axis.in) {
      return invalid_file(label, ": the window at ", name, " ", start,
                          " has no tap inside the picture: reduce the padding");
    }
  }
  return Status();
}

Status check_pool2d(const ModelFile& file, const OpRecord& op, const std::string& label) {
  const uint32_t x = file.op_inputs(op)[0];
  const uint32_t y = file.op_outputs(op)[0];
  WBCQ_RETURN_IF_ERROR(check_dtype(file, label, x, DType::kU8));
  WBCQ_RETURN_IF_ERROR(check_dtype(file, label, y, DType::kU8));
  const TensorRecord& in = file.tensors()[x];
  const TensorRecord& out = file.tensors()[y];
  if (in.dims[3] != out.dims[3]) {
    return invalid_file(label, ": input has ", in.dims[3], " channels but output ", out.dims[3]);
  }
  WBCQ_RETURN_IF_ERROR(check_pool_axis(window_axis(file, op, 0), label, "height"));
  WBCQ_RETURN_IF_ERROR(check_pool_axis(window_axis(file, op, 1), label, "width"));
  if (static_cast<OpKind>(op.kind) == OpKind::kMaxPool2d) {
    if (in.scale != out.scale || in.zero_point != out.zero_point) {
      return invalid_file(label, ": input and output must share scale and zero point");
    }
    return Status();
  }
  WBCQ_RETURN_IF_ERROR(check_multiplier(label, in.scale / out.scale, "scale of x / scale of y"));
  return check_clamp(label, op.attrs[pool2d::kLo], op.attrs[pool2d::kHi]);
}

}  // namespace

Status check_multiplier(const std::string& label, float multiplier, std::string_view what) {
  if (multiplier < kMultiplierBound) return Status();  // false for NaN
  return invalid_file(label, ": ", what, " is ", multiplier, ", must be below 2^96");
}

Axis window_axis(const ModelFile& file, const OpRecord& op, int axis) {
  const int32_t* attrs = op.attrs;
  return {.in = file.tensors()[file.op_inputs(op)[0]].dims[1 + axis],
          .out = file.tensors()[file.op_outputs(op)[0]].dims[1 + axis],
          .kernel = attrs[conv2d::kKernelH + axis],
          .stride = attrs[conv2d::kStrideH + axis],
          .before = attrs[conv2d::kPadTop + axis],
          .after = attrs[conv2d::kPadBottom + axis],
          .dilation = attrs[conv2d::kDilationH + axis]};
}
static_assert(int{conv2d::kStrideH} == int{pool2d::kStrideH} &&
              int{conv2d::kPadBottom} == int{pool2d::kPadBottom} &&
              int{conv2d::kDilationW} == int{pool2d::kDilationW});

Status validate_op(const ModelFile& file, const OpRecord& op, const std::string& label) {
  switch (static_cast<OpKind>(op.kind)) {
    case OpKind::kQuantize:
      return check_quantize(file, op, label);
    case OpKind::kDequantize:
      return check_dequantize(file, op, label);
    case OpKind::kConv2d:
      return validate_conv2d(file, op, label);
    case OpKind::kMaxPool2d:
    case OpKind::kAvgPool2d:
      return check_pool2d(file, op, label);
    case OpKind::kAdd:
      return check_add(file, op, label);
    default:
      break;
  }
  return invalid_file(label, ": unknown kind");
}

}  // namespace wbcq::format
