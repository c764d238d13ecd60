// The rules of docs/design/file-format.md, from the records to the meaning of each operator. Each
// function relies on what those above it checked. The message of a Status names the record.
#ifndef WBCQ_FORMAT_VALIDATE_H_
#define WBCQ_FORMAT_VALIDATE_H_

#include <string>
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

// "op 12 'layer1.0.conv1' (conv2d)", "tensor 3 'x'".
std::string op_label(const ModelFile& file, const OpRecord& op);
std::string tensor_label(const ModelFile& file, uint32_t tensor);

template <typename... Parts>
Status invalid_file(const Parts&... parts) {
  return Status(StatusCode::kInvalidFile, cat(parts...));
}

// A factor of requantization: finite and below kMultiplierBound.
Status check_multiplier(const std::string& label, float multiplier, std::string_view what);

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
