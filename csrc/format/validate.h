// The rules of docs/design/file-format.md, from the records to the meaning of each operator. Each
// function relies on what those above it checked. The message of a Status names the record.
#ifndef WBCQ_FORMAT_VALIDATE_H_
#define WBCQ_FORMAT_VALIDATE_H_

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "base/status.h"
#include "format/format.h"
#include "format/message.h"
#include "format/reader.h"

namespace wbcq::format {

// Each record by itself: names, dtypes, dimensions, where a blob's bytes are, operand indices,
// attributes inside their limits, counts of operands.
Status validate_records(const ModelFile& file);

// Order (a tensor is written once, before it is read), the graph's inputs and outputs, and every
// operator.
Status validate_program(const ModelFile& file);

// One operator: dtypes, shapes, scales, weights and the range of the accumulator. `label` begins
// the message.
Status validate_op(const ModelFile& file, const OpRecord& op, const std::string& label);
Status validate_conv2d(const ModelFile& file, const OpRecord& op, const std::string& label);
Status validate_add(const ModelFile& file, const OpRecord& op, const std::string& label);
Status validate_mul(const ModelFile& file, const OpRecord& op, const std::string& label);
Status validate_lookup(const ModelFile& file, const OpRecord& op, const std::string& label);
Status validate_resize(const ModelFile& file, const OpRecord& op, const std::string& label);
Status validate_pad(const ModelFile& file, const OpRecord& op, const std::string& label);
Status validate_unary(const ModelFile& file, const OpRecord& op, const std::string& label);
Status validate_normalize(const ModelFile& file, const OpRecord& op, const std::string& label);
Status validate_binary(const ModelFile& file, const OpRecord& op, const std::string& label);

// "op 12 'layer1.0.conv1' (conv2d)", "tensor 3 'x'".
std::string op_label(const ModelFile& file, const OpRecord& op);
std::string tensor_label(const ModelFile& file, uint32_t tensor);

Status invalid_file_status(std::initializer_list<Part> message);

template <typename... Parts>
[[gnu::always_inline]] inline Status invalid_file(const Parts&... parts) {
  return invalid_file_status({Part(parts)...});
}

// Checks that operators share; tensors and blobs are indices.
std::string shape_text(const TensorRecord& tensor);
bool is_f32(const TensorRecord& tensor);
bool same_shape(const TensorRecord& a, const TensorRecord& b);
Status check_dtype(const ModelFile& file, const std::string& label, uint32_t tensor, DType dtype);
Status check_same_dtype(const ModelFile& file, const std::string& label, uint32_t x, uint32_t y);
Status check_same_shape(const ModelFile& file, const std::string& label, uint32_t a, uint32_t b);
Status check_same_channels(const ModelFile& file, const std::string& label, uint32_t x, uint32_t y);
Status check_same_qparams(const ModelFile& file, const std::string& label, uint32_t x, uint32_t y);
Status check_blob_shape(const ModelFile& file, const std::string& label, uint32_t blob,
                        std::string_view role, DType dtype, std::initializer_list<int64_t> dims);
Status check_finite(const ModelFile& file, const std::string& label, uint32_t blob,
                    std::string_view role);
Status check_table(const ModelFile& file, const std::string& label, uint32_t blob);
// One input and one output of one shape.
Status check_map(const ModelFile& file, const OpRecord& op, const std::string& label, DType from,
                 DType to);
// A factor of requantization: finite and below kMultiplierBound.
Status check_multiplier(const std::string& label, float multiplier, std::string_view what);

// The float32 that an attribute holds the bits of.
float float_attr(int32_t bits);

// Where an operator keeps its clamp and what it rounds to before its table.
struct RequantizeAttrs {
  int lo;
  int hi;
  int pre_scale;
  int pre_zero_point;
};
// Checks these and the table, the last blob. `scale` becomes the scale that the operator rounds to.
Status check_requantize(const ModelFile& file, const OpRecord& op, const std::string& label,
                        const RequantizeAttrs& attrs, bool has_table, float& scale);

// Windows along one axis of a convolution or pool.
struct Axis {
  int64_t in;
  int64_t out;
  int64_t kernel;
  int64_t stride;
  int64_t before;
  int64_t after;
  int64_t dilation;

  // How far the last possible window's start is from the first one's; negative if none fits.
  int64_t room() const { return in + before + after - dilation * (kernel - 1) - 1; }
  // The number of windows that fit, at least 0.
  int64_t whole_windows() const { return room() < 0 ? 0 : room() / stride + 1; }
};
// The height (0) or width (1) axis; attributes of conv2d and pool2d agree up to the dilations.
Axis window_axis(const ModelFile& file, const OpRecord& op, int axis);

}  // namespace wbcq::format

#endif  // WBCQ_FORMAT_VALIDATE_H_
