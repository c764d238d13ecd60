#include <algorithm>
#include <cmath>

#include "format/limits.h"
#include "format/validate.h"

namespace wbcq::format {
namespace {

Status check_quantize(const ModelFile& file, const OpRecord& op, const std::string& label) {
  WBCQ_RETURN_IF_ERROR(check_map(file, op, label, DType::kF32, DType::kU8));
  const float scale = file.tensors()[file.op_outputs(op)[0]].scale;
  if (!std::isfinite(1.0f / scale)) {
    return invalid_file(label, ": 1 / scale is not finite for scale ", scale);
  }
  return Status();
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

// An adaptive pool has no geometry of its own. Its windows have at most in / out + 2 pixels.
Status check_adaptive_pool(const ModelFile& file, const OpRecord& op, const std::string& label) {
  const int32_t* attrs = op.attrs;
  if (std::any_of(attrs, attrs + pool2d::kDilationH, [](int32_t value) { return value != 0; }) ||
      attrs[pool2d::kDilationH] != 1 || attrs[pool2d::kDilationW] != 1 ||
      attrs[pool2d::kCountIncludePad] != 0 || attrs[pool2d::kDivisor] != 0) {
    return invalid_file(label,
                        ": an adaptive pool (a kernel or stride is 0) has kernel, stride, "
                        "padding and divisor 0 and dilation 1");
  }
  for (int i = 0; i < 2; ++i) {
    const Axis axis = window_axis(file, op, i);
    if (axis.in / axis.out + 2 > kMaxKernel) {
      return invalid_file(label, ": adaptive windows of ", axis.in, " / ", axis.out,
                          " pixels, must be below ", kMaxKernel - 1);
    }
  }
  return Status();
}

Status check_pool_windows(const ModelFile& file, const OpRecord& op, const std::string& label) {
  const int32_t* window = op.attrs + pool2d::kKernelH;
  if (std::find(window, window + 4, 0) != window + 4) return check_adaptive_pool(file, op, label);
  WBCQ_RETURN_IF_ERROR(check_pool_axis(window_axis(file, op, 0), label, "height"));
  return check_pool_axis(window_axis(file, op, 1), label, "width");
}

Status check_pool2d(const ModelFile& file, const OpRecord& op, const std::string& label) {
  const uint32_t x = file.op_inputs(op)[0];
  const uint32_t y = file.op_outputs(op)[0];
  WBCQ_RETURN_IF_ERROR(check_same_dtype(file, label, x, y));
  WBCQ_RETURN_IF_ERROR(check_same_channels(file, label, x, y));
  WBCQ_RETURN_IF_ERROR(check_pool_windows(file, op, label));
  if (static_cast<OpKind>(op.kind) == OpKind::kMaxPool2d) {
    return check_same_qparams(file, label, x, y);
  }
  float scale = 0;
  WBCQ_RETURN_IF_ERROR(check_requantize(
      file, op, label, {pool2d::kLo, pool2d::kHi, pool2d::kPreScale, pool2d::kPreZeroPoint},
      op.blobs == 1, scale));
  const TensorRecord& in = file.tensors()[x];
  if (is_f32(in)) return Status();
  return check_multiplier(label, in.scale / scale, "scale of x / scale of the result");
}

Status check_rearrange(const ModelFile& file, const OpRecord& op, const std::string& label) {
  const uint32_t x = file.op_inputs(op)[0];
  const uint32_t y = file.op_outputs(op)[0];
  WBCQ_RETURN_IF_ERROR(check_same_dtype(file, label, x, y));
  WBCQ_RETURN_IF_ERROR(check_same_qparams(file, label, x, y));
  const auto elements = [&](uint32_t tensor) {
    const int32_t* dims = file.tensors()[tensor].dims;
    return int64_t{dims[1]} * dims[2] * dims[3];
  };
  // The product of the sizes is below 2^31 and so is their sum: nothing here leaves int64.
  int64_t count = 1;
  int64_t lowest = op.attrs[rearrange::kOffset];
  int64_t highest = lowest;
  for (int i = 0; i < rearrange::kDigits; ++i) {
    const int64_t size = op.attrs[rearrange::kSize + i];
    count = std::min(count * size, kMaxElements + 1);
    const int64_t reach = count > kMaxElements ? 0 : (size - 1) * op.attrs[rearrange::kStride + i];
    lowest += std::min<int64_t>(reach, 0);
    highest += std::max<int64_t>(reach, 0);
  }
  if (count != elements(y)) {
    return invalid_file(label, ": the product of the sizes is ", count, ", the output has ",
                        elements(y), " elements");
  }
  if (lowest < 0 || highest >= elements(x)) {
    return invalid_file(label, ": reads elements ", lowest, "..", highest, " of an input of ",
                        elements(x));
  }
  return Status();
}

}  // namespace

Status check_map(const ModelFile& file, const OpRecord& op, const std::string& label, DType from,
                 DType to) {
  const uint32_t x = file.op_inputs(op)[0];
  const uint32_t y = file.op_outputs(op)[0];
  WBCQ_RETURN_IF_ERROR(check_dtype(file, label, x, from));
  WBCQ_RETURN_IF_ERROR(check_dtype(file, label, y, to));
  return check_same_shape(file, label, x, y);
}

Status validate_op(const ModelFile& file, const OpRecord& op, const std::string& label) {
  switch (static_cast<OpKind>(op.kind)) {
    case OpKind::kQuantize:
      return check_quantize(file, op, label);
    case OpKind::kDequantize:
      return check_map(file, op, label, DType::kU8, DType::kF32);
    case OpKind::kConv2d:
      return validate_conv2d(file, op, label);
    case OpKind::kMaxPool2d:
    case OpKind::kAvgPool2d:
      return check_pool2d(file, op, label);
    case OpKind::kAdd:
      return validate_add(file, op, label);
    case OpKind::kLookup:
      return validate_lookup(file, op, label);
    case OpKind::kMul:
      return validate_mul(file, op, label);
    case OpKind::kResize:
      return validate_resize(file, op, label);
    case OpKind::kPad:
      return validate_pad(file, op, label);
    case OpKind::kUnary:
      return validate_unary(file, op, label);
    case OpKind::kBinary:
      return validate_binary(file, op, label);
    case OpKind::kSoftmax:
      return check_map(file, op, label, DType::kF32, DType::kF32);
    case OpKind::kRearrange:
      return check_rearrange(file, op, label);
    case OpKind::kNormalize:
      return validate_normalize(file, op, label);
  }
  return invalid_file(label, ": unknown kind");
}

}  // namespace wbcq::format
