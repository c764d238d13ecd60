#include <algorithm>
#include <vector>

#include "format/channel_ranges.h"
#include "format/limits.h"
#include "format/names.h"
#include "format/validate.h"

namespace wbcq::format {
namespace {

// Follows the operators in execution order and remembers what has been written.
class ProgramValidator {
 public:
  explicit ProgramValidator(const ModelFile& file)
      : file_(file),
        written_(file.tensors().size()),
        is_input_(file.tensors().size(), false),
        is_output_(file.tensors().size(), false),
        blob_used_(file.blobs().size(), false) {}

  Status run() {
    WBCQ_RETURN_IF_ERROR(check_io_records());
    for (const OpRecord& op : file_.ops()) WBCQ_RETURN_IF_ERROR(step(op));
    return check_end();
  }

 private:
  // The tensor whose memory holds the channels of `tensor`.
  uint32_t root(uint32_t tensor) const {
    const uint32_t parent = file_.tensors()[tensor].parent;
    return parent == 0 ? tensor : parent - 1;
  }
  bool is_written(uint32_t tensor) const {
    const TensorRecord& record = file_.tensors()[tensor];
    return written_[root(tensor)].holds(record.channel_offset,
                                        record.channel_offset + record.dims[3]);
  }
  // False if a channel has been written before.
  bool write(uint32_t tensor) {
    const TensorRecord& record = file_.tensors()[tensor];
    return written_[root(tensor)].add(record.channel_offset,
                                      record.channel_offset + record.dims[3]);
  }

  Status check_io_records() {
    const auto is_output = [](const IoRecord& io) { return io.is_output != 0; };
    if (file_.inputs().empty()) return invalid_file("the model has no input");
    if (file_.outputs().empty()) return invalid_file("the model has no output");
    if (!std::all_of(file_.outputs().begin(), file_.outputs().end(), is_output)) {
      return invalid_file("section 5 (io): inputs must come before outputs");
    }
    for (size_t i = 0; i < file_.io().size(); ++i) {
      const IoRecord& io = file_.io()[i];
      WBCQ_RETURN_IF_ERROR(check_io(io, cat("io ", i, io.is_output ? " (output)" : " (input)")));
      if (io.is_output) continue;
      if (file_.tensors()[io.tensor].parent != 0) {
        return invalid_file(tensor_label(file_, io.tensor),
                            " is a view, an input must have its own memory");
      }
      if (!write(io.tensor)) {
        return invalid_file(tensor_label(file_, io.tensor), " is an input twice");
      }
      is_input_[io.tensor] = true;
    }
    return Status();
  }

  Status check_io(const IoRecord& io, const std::string& label) const {
    if (io.is_output > 1) return invalid_file(label, ": is_output is ", io.is_output);
    if (io.reserved != 0) return invalid_file(label, ": reserved is not zero");
    if (io.tensor >= file_.tensors().size()) {
      return invalid_file(label, ": tensor ", io.tensor, " of ", file_.tensors().size());
    }
    const TensorRecord& tensor = file_.tensors()[io.tensor];
    if (tensor.dtype != static_cast<uint8_t>(DType::kF32)) {
      return invalid_file(label, ": ", tensor_label(file_, io.tensor), " is ",
                          dtype_name(tensor.dtype), ", must be f32");
    }
    if (io.rank < 2 || io.rank > 4) {
      return invalid_file(label, ": rank is ", io.rank, ", must be 2..4");
    }
    if (io.dims[0] != kBatch) {
      return invalid_file(label, ": dims[0] is ", io.dims[0], ", must be ", kBatch, " (the batch)");
    }
    int64_t elements = 1;
    for (uint32_t i = 1; i < 4; ++i) {
      const int32_t max = i < io.rank ? int32_t{kMaxElements} : 1;
      if (io.dims[i] < 1 || io.dims[i] > max) {
        return invalid_file(label, ": dims[", i, "] is ", io.dims[i], ", must be 1..", max);
      }
      // Below 2^31 * 2^31 in every step.
      elements = std::min(elements * io.dims[i], kMaxElements + 1);
    }
    const int32_t height = tensor.dims[1];
    const int32_t width = tensor.dims[2];
    const int32_t channels = tensor.dims[3];
    const bool agrees = io.rank == 4
                            ? io.dims[1] == channels && io.dims[2] == height && io.dims[3] == width
                            : elements == int64_t{height} * width * channels;
    if (!agrees) {
      return invalid_file(label, ": the shape N, ", io.dims[1], ", ", io.dims[2], ", ", io.dims[3],
                          " is not that of ", tensor_label(file_, io.tensor), " (N, C, H, W = N, ",
                          channels, ", ", height, ", ", width, ")");
    }
    return Status();
  }

  Status step(const OpRecord& op) {
    const std::string label = op_label(file_, op);
    for (const uint32_t input : file_.op_inputs(op)) {
      if (!is_written(input)) {
        return invalid_file(label, ": reads ", tensor_label(file_, input), " before it is written");
      }
    }
    const uint32_t output = file_.op_outputs(op)[0];
    if (!write(output)) {
      return invalid_file(
          label, ": writes ", tensor_label(file_, output),
          is_input_[root(output)] ? ", which is an input" : ", which is written twice");
    }
    for (const uint32_t blob : file_.op_blobs(op)) {
      if (blob_used_[blob]) {
        return invalid_file(label, ": blob ", blob, " belongs to another operand");
      }
      const bool is_weight =
          op.kind == static_cast<uint32_t>(OpKind::kConv2d) && blob == file_.op_blobs(op)[0];
      if (file_.blobs()[blob].block != 0 && !is_weight) {
        return invalid_file(label, ": blob ", blob,
                            " is sparse: only the weights of a convolution may be");
      }
      blob_used_[blob] = true;
    }
    return validate_op(file_, op, label);
  }

  Status check_end() {
    for (const IoRecord& io : file_.outputs()) {
      if (is_output_[io.tensor]) {
        return invalid_file(tensor_label(file_, io.tensor), " is an output twice");
      }
      if (is_input_[root(io.tensor)]) {
        return invalid_file(tensor_label(file_, io.tensor), " is both an input and an output");
      }
      is_output_[io.tensor] = true;
    }
    for (uint32_t i = 0; i < file_.tensors().size(); ++i) {
      if (!is_written(i)) return invalid_file(tensor_label(file_, i), " is never written");
    }
    const auto unused = std::find(blob_used_.begin(), blob_used_.end(), false);
    if (unused != blob_used_.end()) {
      return invalid_file("blob ", unused - blob_used_.begin(), " is never used");
    }
    return Status();
  }

  const ModelFile& file_;
  std::vector<ChannelRanges> written_;  // by root
  std::vector<bool> is_input_;
  std::vector<bool> is_output_;
  std::vector<bool> blob_used_;
};

}  // namespace

Status validate_program(const ModelFile& file) { return ProgramValidator(file).run(); }

}  // namespace wbcq::format
