#include <algorithm>
#include <bit>
#include <cmath>

#include "format/limits.h"
#include "format/names.h"
#include "format/sparse_blob.h"
#include "format/validate.h"

namespace wbcq::format {

std::string shape_text(const TensorRecord& tensor) {
  return cat("N, ", tensor.dims[1], ", ", tensor.dims[2], ", ", tensor.dims[3]);
}

bool is_f32(const TensorRecord& tensor) {
  return tensor.dtype == static_cast<uint8_t>(DType::kF32);
}

bool same_shape(const TensorRecord& a, const TensorRecord& b) {
  return std::equal(std::begin(a.dims), std::end(a.dims), std::begin(b.dims));
}

Status check_dtype(const ModelFile& file, const std::string& label, uint32_t tensor, DType dtype) {
  const uint8_t actual = file.tensors()[tensor].dtype;
  if (actual == static_cast<uint8_t>(dtype)) return Status();
  return invalid_file(label, ": ", tensor_label(file, tensor), " is ", dtype_name(actual),
                      ", must be ", dtype_name(static_cast<uint8_t>(dtype)));
}

Status check_same_dtype(const ModelFile& file, const std::string& label, uint32_t x, uint32_t y) {
  return check_dtype(file, label, y, static_cast<DType>(file.tensors()[x].dtype));
}

Status check_same_shape(const ModelFile& file, const std::string& label, uint32_t a, uint32_t b) {
  const TensorRecord& first = file.tensors()[a];
  const TensorRecord& second = file.tensors()[b];
  if (same_shape(first, second)) return Status();
  return invalid_file(label, ": ", tensor_label(file, a), " has shape ", shape_text(first), " but ",
                      tensor_label(file, b), " has ", shape_text(second));
}

Status check_same_channels(const ModelFile& file, const std::string& label, uint32_t x,
                           uint32_t y) {
  const int32_t in = file.tensors()[x].dims[3];
  const int32_t out = file.tensors()[y].dims[3];
  if (in == out) return Status();
  return invalid_file(label, ": input has ", in, " channels but output ", out);
}

Status check_same_qparams(const ModelFile& file, const std::string& label, uint32_t x, uint32_t y) {
  const TensorRecord& in = file.tensors()[x];
  const TensorRecord& out = file.tensors()[y];
  if (in.scale == out.scale && in.zero_point == out.zero_point) return Status();
  return invalid_file(label, ": input and output must share scale and zero point");
}

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

Status check_finite(const ModelFile& file, const std::string& label, uint32_t blob,
                    std::string_view role) {
  const std::span<const float> values = file.blob_values<float>(blob);
  const auto bad =
      std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
  if (bad == values.end()) return Status();
  // Its place among all elements.
  StoredCounter counter(file.blobs()[blob], file.blob_bytes(blob).data());
  ptrdiff_t element = -1;
  for (ptrdiff_t before = bad - values.begin(); before >= 0; ++element) {
    before -= static_cast<ptrdiff_t>(counter.next(1));
  }
  return invalid_file(label, ": ", role, "[", element, "] is ", *bad, ", must be finite");
}

Status check_table(const ModelFile& file, const std::string& label, uint32_t blob) {
  return check_blob_shape(file, label, blob, "table", DType::kU8, {256});
}

Status check_multiplier(const std::string& label, float multiplier, std::string_view what) {
  if (multiplier < kMultiplierBound) return Status();  // false for NaN
  return invalid_file(label, ": ", what, " is ", multiplier, ", must be below 2^96");
}

Status invalid_file_status(std::initializer_list<Part> message) {
  return Status(StatusCode::kInvalidFile, join(message));
}

float float_attr(int32_t bits) { return std::bit_cast<float>(bits); }

Status check_requantize(const ModelFile& file, const OpRecord& op, const std::string& label,
                        const RequantizeAttrs& attrs, bool has_table, float& scale) {
  const int32_t lo = op.attrs[attrs.lo];
  const int32_t hi = op.attrs[attrs.hi];
  const TensorRecord& y = file.tensors()[file.op_outputs(op)[0]];
  scale = y.scale;
  if (is_f32(file.tensors()[file.op_inputs(op)[0]])) {
    if (float_attr(lo) <= float_attr(hi)) return Status();  // false for NaN
    return invalid_file(label, ": lo is ", float_attr(lo), ", must be at most hi, ",
                        float_attr(hi));
  }
  if (lo > hi) return invalid_file(label, ": lo is ", lo, ", must be at most hi, ", hi);
  const int32_t pre_scale = op.attrs[attrs.pre_scale];
  const int32_t pre_zero_point = op.attrs[attrs.pre_zero_point];
  if (!has_table) {
    if (pre_scale == 0 && pre_zero_point == 0) return Status();
    return invalid_file(label, ": pre_scale and pre_zero_point must be 0 without a table");
  }
  scale = float_attr(pre_scale);
  if (!(scale > 0) || !std::isfinite(scale)) {
    return invalid_file(label, ": pre_scale is ", scale, ", must be positive and finite");
  }
  return check_table(file, label, file.op_blobs(op).back());
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

}  // namespace wbcq::format
