// Operators whose output elements depend on one element of each input, on a few around it (resize),
// or on the channels of one pixel (softmax) or a group (normalize).
#include <cmath>

#include "format/validate.h"

namespace wbcq::format {
namespace {

// One dtype; b has the shape of a or is broadcast over its pixels.
Status check_operands(const ModelFile& file, const OpRecord& op, const std::string& label) {
  const uint32_t a = file.op_inputs(op)[0];
  const uint32_t b = file.op_inputs(op)[1];
  const uint32_t y = file.op_outputs(op)[0];
  WBCQ_RETURN_IF_ERROR(check_same_dtype(file, label, a, b));
  WBCQ_RETURN_IF_ERROR(check_same_dtype(file, label, a, y));
  WBCQ_RETURN_IF_ERROR(check_same_shape(file, label, a, y));
  const TensorRecord& first = file.tensors()[a];
  const TensorRecord& second = file.tensors()[b];
  const bool broadcast =
      second.dims[1] == 1 && second.dims[2] == 1 && second.dims[3] == first.dims[3];
  if (broadcast || same_shape(first, second)) return Status();
  return invalid_file(label, ": ", tensor_label(file, a), " has shape ", shape_text(first), " but ",
                      tensor_label(file, b), " has ", shape_text(second),
                      ", must have the same or N, 1, 1, ", first.dims[3]);
}

}  // namespace

Status validate_add(const ModelFile& file, const OpRecord& op, const std::string& label) {
  WBCQ_RETURN_IF_ERROR(check_operands(file, op, label));
  float scale = 0;
  WBCQ_RETURN_IF_ERROR(check_requantize(file, op, label,
                                        {add::kLo, add::kHi, add::kPreScale, add::kPreZeroPoint},
                                        op.blobs == 1, scale));
  const TensorRecord& a = file.tensors()[file.op_inputs(op)[0]];
  const TensorRecord& b = file.tensors()[file.op_inputs(op)[1]];
  if (is_f32(a)) return Status();
  WBCQ_RETURN_IF_ERROR(
      check_multiplier(label, a.scale / scale, "scale of a / scale of the result"));
  return check_multiplier(label, b.scale / scale, "scale of b / scale of the result");
}

Status validate_mul(const ModelFile& file, const OpRecord& op, const std::string& label) {
  WBCQ_RETURN_IF_ERROR(check_operands(file, op, label));
  float scale = 0;
  WBCQ_RETURN_IF_ERROR(check_requantize(file, op, label,
                                        {mul::kLo, mul::kHi, mul::kPreScale, mul::kPreZeroPoint},
                                        op.blobs == 1, scale));
  const TensorRecord& a = file.tensors()[file.op_inputs(op)[0]];
  const TensorRecord& b = file.tensors()[file.op_inputs(op)[1]];
  if (is_f32(a)) return Status();
  const float product = a.scale * b.scale;
  return check_multiplier(label, product / scale, "scale of a * scale of b / scale of the result");
}

Status validate_lookup(const ModelFile& file, const OpRecord& op, const std::string& label) {
  WBCQ_RETURN_IF_ERROR(check_map(file, op, label, DType::kU8, DType::kU8));
  return check_table(file, label, file.op_blobs(op)[0]);
}

Status validate_resize(const ModelFile& file, const OpRecord& op, const std::string& label) {
  const uint32_t x = file.op_inputs(op)[0];
  const uint32_t y = file.op_outputs(op)[0];
  WBCQ_RETURN_IF_ERROR(check_same_dtype(file, label, x, y));
  WBCQ_RETURN_IF_ERROR(check_same_channels(file, label, x, y));
  WBCQ_RETURN_IF_ERROR(check_same_qparams(file, label, x, y));
  if (op.attrs[resize::kAlignCorners] != 0 && op.attrs[resize::kMode] != resize::kBilinear) {
    return invalid_file(label, ": align_corners is set, which only bilinear interpolation has");
  }
  return Status();
}

Status validate_pad(const ModelFile& file, const OpRecord& op, const std::string& label) {
  const uint32_t x = file.op_inputs(op)[0];
  const uint32_t y = file.op_outputs(op)[0];
  WBCQ_RETURN_IF_ERROR(check_same_dtype(file, label, x, y));
  WBCQ_RETURN_IF_ERROR(check_same_channels(file, label, x, y));
  WBCQ_RETURN_IF_ERROR(check_same_qparams(file, label, x, y));
  const TensorRecord& in = file.tensors()[x];
  const TensorRecord& out = file.tensors()[y];
  for (int i = 0; i < 2; ++i) {
    const int32_t size = in.dims[1 + i] + op.attrs[pad::kTop + i] + op.attrs[pad::kBottom + i];
    if (out.dims[1 + i] != size) {
      return invalid_file(label, ": output ", i == 0 ? "height" : "width", " is ", out.dims[1 + i],
                          ", must be ", size);
    }
  }
  if (is_f32(in) && std::isnan(float_attr(op.attrs[pad::kValue]))) {
    return invalid_file(label, ": value is NaN");
  }
  return Status();
}

Status validate_unary(const ModelFile& file, const OpRecord& op, const std::string& label) {
  WBCQ_RETURN_IF_ERROR(check_map(file, op, label, DType::kF32, DType::kF32));
  int parameters = 0;
  bool may_be_infinite = false;
  switch (op.attrs[unary::kFunction]) {
    case unary::kLeakyRelu:
    case unary::kElu:
    case unary::kSoftplus:
      parameters = 1;
      break;
    case unary::kClamp:
      may_be_infinite = true;
      [[fallthrough]];
    case unary::kAffine:
      parameters = 2;
      break;
    default:
      break;
  }
  for (int i = 0; i < 2; ++i) {
    const int32_t bits = op.attrs[unary::kP0 + i];
    const float value = float_attr(bits);
    if (i >= parameters && bits != 0) {
      return invalid_file(label, ": p", i, " is ", value, ", must be 0: the function has ",
                          parameters, " parameters");
    }
    if (std::isnan(value) || (std::isinf(value) && !may_be_infinite)) {
      return invalid_file(label, ": p", i, " is ", value, ", must be finite");
    }
  }
  const float p0 = float_attr(op.attrs[unary::kP0]);
  const float p1 = float_attr(op.attrs[unary::kP1]);
  if (op.attrs[unary::kFunction] == unary::kClamp && p0 > p1) {
    return invalid_file(label, ": lo of clamp is ", p0, ", must be at most hi, ", p1);
  }
  if (op.attrs[unary::kFunction] == unary::kSoftplus && !(p0 > 0)) {
    return invalid_file(label, ": beta of softplus is ", p0, ", must be positive");
  }
  return Status();
}

Status validate_binary(const ModelFile& file, const OpRecord& op, const std::string& label) {
  WBCQ_RETURN_IF_ERROR(check_dtype(file, label, file.op_inputs(op)[0], DType::kF32));
  return check_operands(file, op, label);
}

Status validate_normalize(const ModelFile& file, const OpRecord& op, const std::string& label) {
  WBCQ_RETURN_IF_ERROR(check_map(file, op, label, DType::kF32, DType::kF32));
  const int32_t channels = file.tensors()[file.op_inputs(op)[0]].dims[3];
  const int32_t groups = op.attrs[normalize::kGroups];
  if (groups != 0 && channels % groups != 0) {
    return invalid_file(label, ": ", groups, " groups do not divide ", channels, " channels");
  }
  const float eps = float_attr(op.attrs[normalize::kEps]);
  if (!(eps >= 0) || std::isinf(eps)) {
    return invalid_file(label, ": eps is ", eps, ", must be finite and at least 0");
  }
  constexpr std::string_view kRoles[] = {"weight", "bias"};
  for (int i = 0; i < 2; ++i) {
    const uint32_t blob = file.op_blobs(op)[i];
    WBCQ_RETURN_IF_ERROR(check_blob_shape(file, label, blob, kRoles[i], DType::kF32, {channels}));
    WBCQ_RETURN_IF_ERROR(check_finite(file, label, blob, kRoles[i]));
  }
  return Status();
}

}  // namespace wbcq::format
