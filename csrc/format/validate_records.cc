#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "format/limits.h"
#include "format/names.h"
#include "format/sparse_blob.h"
#include "format/validate.h"

namespace wbcq::format {
namespace {

template <typename Bytes>
bool all_zero(const Bytes& values) {
  return std::all_of(std::begin(values), std::end(values), [](auto value) { return value == 0; });
}

Status check_strings(std::string_view strings) {
  if (strings.empty() || strings.back() != '\0') {
    return invalid_file("section 0 (strings): must end with a zero byte");
  }
  if (!is_utf8(strings)) return invalid_file("section 0 (strings): not UTF-8");
  return Status();
}

// Checks that the names of one kind of records are strings of the file and differ.
class NameChecker {
 public:
  explicit NameChecker(std::string_view strings) : strings_(strings) {}

  Status check(std::string_view record, size_t index, uint32_t offset) {
    const bool starts_string =
        offset < strings_.size() && (offset == 0 || strings_[offset - 1] == '\0');
    if (!starts_string) {
      return invalid_file(record, " ", index, ": name is ", offset, ", not where a string begins");
    }
    const std::string_view rest = strings_.substr(offset, kMaxNameBytes + 1);
    const size_t size = rest.find('\0');
    if (size == 0 || size == std::string_view::npos) {
      return invalid_file(record, " ", index, ": the name must have 1..", kMaxNameBytes, " bytes");
    }
    const std::string_view name = rest.substr(0, size);
    if (!seen_.insert(name).second) {
      return invalid_file(record, " ", index, ": the name ", quoted_name(name),
                          " is taken by another ", record);
    }
    return Status();
  }

 private:
  std::string_view strings_;
  std::unordered_set<std::string_view> seen_;
};

Status check_view(const ModelFile& file, uint32_t index) {
  const TensorRecord& view = file.tensors()[index];
  if (view.parent == 0 && view.channel_offset == 0) return Status();
  const std::string label = tensor_label(file, index);
  if (view.parent == 0) {
    return invalid_file(label, ": channel_offset is ", view.channel_offset,
                        ", must be 0 without a parent");
  }
  if (view.parent > file.tensors().size()) {
    return invalid_file(label, ": parent is tensor ", view.parent - 1, " of ",
                        file.tensors().size());
  }
  const TensorRecord& parent = file.tensors()[view.parent - 1];
  const std::string parent_label = tensor_label(file, view.parent - 1);
  if (parent.parent != 0) {
    return invalid_file(label, ": its parent, ", parent_label, ", is a view itself");
  }
  if (view.dtype != parent.dtype || view.dims[1] != parent.dims[1] ||
      view.dims[2] != parent.dims[2]) {
    return invalid_file(label, ": must have dtype, height and width of its parent, ", parent_label);
  }
  if (view.scale != parent.scale || view.zero_point != parent.zero_point) {
    return invalid_file(label, ": must share scale and zero point with its parent, ", parent_label);
  }
  if (view.channel_offset < 0 ||
      int64_t{view.channel_offset} + view.dims[3] > int64_t{parent.dims[3]}) {
    return invalid_file(label, ": ", view.dims[3], " channels at offset ", view.channel_offset,
                        " leave the ", parent.dims[3], " of its parent, ", parent_label);
  }
  return Status();
}

Status check_tensor(const ModelFile& file, uint32_t index) {
  const TensorRecord& tensor = file.tensors()[index];
  const std::string label = tensor_label(file, index);
  const bool is_u8 = tensor.dtype == static_cast<uint8_t>(DType::kU8);
  if (!is_u8 && tensor.dtype != static_cast<uint8_t>(DType::kF32)) {
    return invalid_file(label, ": dtype is ", int{tensor.dtype}, ", must be 1 (f32) or 2 (u8)");
  }
  if (tensor.dims[0] != kBatch) {
    return invalid_file(label, ": dims[0] is ", tensor.dims[0], ", must be ", kBatch,
                        " (the batch)");
  }
  int64_t elements = 1;
  for (int i = 1; i < 4; ++i) {
    if (tensor.dims[i] < 1 || tensor.dims[i] > kMaxDim) {
      return invalid_file(label, ": dims[", i, "] is ", tensor.dims[i], ", must be 1..", kMaxDim);
    }
    elements *= tensor.dims[i];
    if (elements > kMaxElements) {
      return invalid_file(label, ": more than ", kMaxElements, " elements a picture");
    }
  }
  if (is_u8) {
    if (!(tensor.scale > 0) || !std::isfinite(tensor.scale)) {
      return invalid_file(label, ": scale is ", tensor.scale, ", must be positive and finite");
    }
    if (tensor.zero_point < 0 || tensor.zero_point > 255) {
      return invalid_file(label, ": zero_point is ", tensor.zero_point, ", must be 0..255");
    }
  } else if (tensor.scale != 0 || tensor.zero_point != 0) {
    return invalid_file(label, ": scale and zero_point of an f32 tensor must be 0");
  }
  if (!all_zero(tensor.reserved0) || !all_zero(tensor.reserved)) {
    return invalid_file(label, ": reserved bytes are not zero");
  }
  return Status();
}

// What can be said of a sparse blob before its mask is read. `dense_bytes` is what its shape has.
Status check_sparse(const ModelFile& file, const BlobRecord& blob, const std::string& label,
                    uint64_t dense_bytes) {
  if (blob.block != 1 && blob.block != 4) {
    return invalid_file(label, ": block is ", int{blob.block}, ", must be 0, 1 or 4");
  }
  if ((file.header().required_features & kSparseBlobs) == 0) {
    return invalid_file(label, ": is sparse, but the header does not require feature bit 0");
  }
  const SparseLayout layout(blob);
  if (blob.bytes >= dense_bytes) {
    return invalid_file(label, ": bytes is ", blob.bytes, ", must be below the ", dense_bytes,
                        " of its shape: it is sparse");
  }
  if (blob.bytes < layout.mask_bytes) {
    return invalid_file(label, ": bytes is ", blob.bytes, ", its mask alone has ",
                        layout.mask_bytes);
  }
  return Status();
}

Status check_mask(const BlobRecord& blob, const std::byte* mask, const std::string& label) {
  const SparseLayout layout(blob);
  const uint64_t bytes =
      layout.mask_bytes + StoredCounter(blob, mask).next(layout.elements) * dtype_size(blob.dtype);
  if (blob.bytes != bytes) {
    return invalid_file(label, ": bytes is ", blob.bytes, ", its mask says ", bytes);
  }
  for (size_t i = layout.blocks; i < 8 * layout.mask_bytes; ++i) {
    if ((mask[i / 8] >> i % 8 & std::byte{1}) != std::byte{0}) {
      return invalid_file(label, ": bit ", i, " of its mask is set, it has ", layout.blocks,
                          " blocks");
    }
  }
  return Status();
}

// `end` is where the blob before it ended in the data section; it becomes the end of this one.
Status check_blob(const ModelFile& file, uint32_t index, uint64_t& end) {
  const BlobRecord& blob = file.blobs()[index];
  const std::string label = cat("blob ", index, " ", quoted_name(file.string(blob.name)));
  const size_t size = dtype_size(blob.dtype);
  if (size == 0) {
    return invalid_file(label, ": dtype is ", int{blob.dtype}, ", which this reader does not know");
  }
  if (blob.rank < 1 || blob.rank > 4) {
    return invalid_file(label, ": rank is ", int{blob.rank}, ", must be 1..4");
  }
  int64_t elements = 1;
  for (int i = 0; i < 4; ++i) {
    const uint32_t max = i < blob.rank ? uint32_t{kMaxDim} : 1;
    if (blob.dims[i] < 1 || blob.dims[i] > max) {
      return invalid_file(label, ": dims[", i, "] is ", blob.dims[i], ", must be 1..", max);
    }
    elements *= blob.dims[i];
    if (elements > kMaxElements) {
      return invalid_file(label, ": more than ", kMaxElements, " elements");
    }
  }
  const uint64_t bytes = blob.bytes;
  const uint64_t dense_bytes = static_cast<uint64_t>(elements) * size;
  if (blob.block != 0) {
    WBCQ_RETURN_IF_ERROR(check_sparse(file, blob, label, dense_bytes));
  } else if (bytes != dense_bytes) {
    return invalid_file(label, ": bytes is ", bytes, ", its shape has ", dense_bytes);
  }
  const uint64_t offset = (end + kAlignment - 1) / kAlignment * kAlignment;
  if (blob.offset != offset) {
    return invalid_file(label, ": offset is ", blob.offset, ", must be ", offset);
  }
  const std::span<const std::byte> data = file.data_section();
  if (offset > data.size() || bytes > data.size() - offset) {
    return invalid_file(label, ": ", bytes, " bytes at offset ", offset,
                        " leave the data section of ", data.size(), " bytes");
  }
  const std::span<const std::byte> gap = data.subspan(end, offset - end);
  if (std::any_of(gap.begin(), gap.end(), [](std::byte b) { return b != std::byte{0}; })) {
    return invalid_file(label, ": the bytes before it are not zero");
  }
  if (blob.reserved0 != 0 || !all_zero(blob.reserved)) {
    return invalid_file(label, ": reserved bytes are not zero");
  }
  end = offset + bytes;
  return blob.block == 0 ? Status() : check_mask(blob, data.data() + offset, label);
}

// Least and most.
struct Counts {
  uint32_t min;
  uint32_t max;
};

Counts input_counts(OpKind kind, uint16_t minor) {
  switch (kind) {
    case OpKind::kConv2d:
      return {1, minor == 0 ? 2 : kMaxInputs};
    case OpKind::kAdd:
    case OpKind::kMul:
    case OpKind::kBinary:
      return {2, 2};
    default:
      return {1, 1};
  }
}

Counts blob_counts(OpKind kind, bool is_f32) {
  switch (kind) {
    case OpKind::kConv2d:
      return is_f32 ? Counts{2, 2} : Counts{3, 4};
    case OpKind::kAvgPool2d:
    case OpKind::kAdd:
    case OpKind::kMul:
      return is_f32 ? Counts{0, 0} : Counts{0, 1};
    case OpKind::kLookup:
      return {1, 1};
    case OpKind::kNormalize:
      return {2, 2};
    default:
      return {0, 0};
  }
}

Status check_count(const std::string& label, uint32_t count, std::string_view what, Counts counts) {
  if (count >= counts.min && count <= counts.max) return Status();
  if (counts.min == counts.max) {
    return invalid_file(label, ": ", count, " ", what, ", must be ", counts.min);
  }
  return invalid_file(label, ": ", count, " ", what, ", must be ", counts.min, "..", counts.max);
}

Status check_attrs(const OpRecord& op, uint8_t dtype, const std::string& label) {
  const std::span<const AttrRule> rules = attr_rules(op.kind, dtype);
  for (size_t i = 0; i < std::size(op.attrs); ++i) {
    const int32_t value = op.attrs[i];
    if (i >= rules.size()) {
      if (value != 0) return invalid_file(label, ": attrs[", i, "] is ", value, ", must be 0");
      continue;
    }
    const AttrRule& rule = rules[i];
    if (value >= rule.min && value <= rule.max) continue;
    if (rule.min == rule.max) {
      return invalid_file(label, ": ", rule.name, " is ", value, ", must be ", rule.min);
    }
    return invalid_file(label, ": ", rule.name, " is ", value, ", must be ", rule.min, "..",
                        rule.max);
  }
  return Status();
}

// `end` is where the operands of the operator before it ended; it becomes the end of this one's.
Status check_op(const ModelFile& file, uint32_t index, uint64_t& end) {
  const OpRecord& op = file.ops()[index];
  if (op_kind_name(op.kind).empty()) {
    return invalid_file("op ", index, " ", quoted_name(file.string(op.name)), ": kind ", op.kind,
                        " is unknown to this reader (version ", kMajor, ".", kMinor,
                        "): update wbcq");
  }
  const std::string label = op_label(file, op);
  if (!all_zero(op.reserved)) return invalid_file(label, ": reserved is not zero");
  const OpKind kind = static_cast<OpKind>(op.kind);
  const uint16_t minor = file.header().minor;
  WBCQ_RETURN_IF_ERROR(check_count(label, op.inputs, "inputs", input_counts(kind, minor)));
  WBCQ_RETURN_IF_ERROR(check_count(label, op.outputs, "outputs", {1, 1}));
  if (op.first_operand != end) {
    return invalid_file(label, ": first_operand is ", op.first_operand, ", must be ", end);
  }
  end += uint64_t{op.inputs} + op.outputs + op.blobs;
  if (end > file.operands().size()) {
    return invalid_file(label, ": operands leave their section of ", file.operands().size());
  }
  for (const uint32_t tensor : file.op_inputs(op)) {
    if (tensor >= file.tensors().size()) {
      return invalid_file(label, ": input is tensor ", tensor, " of ", file.tensors().size());
    }
  }
  const uint32_t output = file.op_outputs(op)[0];
  if (output >= file.tensors().size()) {
    return invalid_file(label, ": output is tensor ", output, " of ", file.tensors().size());
  }
  for (const uint32_t blob : file.op_blobs(op)) {
    if (blob >= file.blobs().size()) {
      return invalid_file(label, ": blob ", blob, " of ", file.blobs().size());
    }
  }
  const uint8_t dtype = file.tensors()[file.op_inputs(op)[0]].dtype;
  const bool is_f32 = dtype == static_cast<uint8_t>(DType::kF32);
  WBCQ_RETURN_IF_ERROR(check_count(label, op.blobs, "blobs", blob_counts(kind, is_f32)));
  if (kind == OpKind::kConv2d && minor == 0 && op.attrs[conv2d::kHasResidual] != 0) {
    return invalid_file(label, ": has_residual is ", op.attrs[conv2d::kHasResidual],
                        ", must be 0 in version 1.0");
  }
  return check_attrs(op, dtype, label);
}

}  // namespace

std::string op_label(const ModelFile& file, const OpRecord& op) {
  return cat("op ", &op - file.ops().data(), " ", quoted_name(file.string(op.name)), " (",
             op_kind_name(op.kind), ")");
}

std::string tensor_label(const ModelFile& file, uint32_t tensor) {
  return cat("tensor ", tensor, " ", quoted_name(file.string(file.tensors()[tensor].name)));
}

Status validate_records(const ModelFile& file) {
  WBCQ_RETURN_IF_ERROR(check_strings(file.string_section()));
  if (!is_utf8(file.metadata())) return invalid_file("section 6 (metadata): not UTF-8");

  NameChecker tensor_names(file.string_section());
  for (uint32_t i = 0; i < file.tensors().size(); ++i) {
    WBCQ_RETURN_IF_ERROR(tensor_names.check("tensor", i, file.tensors()[i].name));
    WBCQ_RETURN_IF_ERROR(check_tensor(file, i));
  }
  for (uint32_t i = 0; i < file.tensors().size(); ++i) {
    WBCQ_RETURN_IF_ERROR(check_view(file, i));
  }

  NameChecker blob_names(file.string_section());
  uint64_t data_end = 0;
  for (uint32_t i = 0; i < file.blobs().size(); ++i) {
    WBCQ_RETURN_IF_ERROR(blob_names.check("blob", i, file.blobs()[i].name));
    WBCQ_RETURN_IF_ERROR(check_blob(file, i, data_end));
  }
  if (data_end != file.data_section().size()) {
    return invalid_file("section 7 (data): has ", file.data_section().size(),
                        " bytes, its blobs end at ", data_end);
  }

  NameChecker op_names(file.string_section());
  uint64_t operands_end = 0;
  for (uint32_t i = 0; i < file.ops().size(); ++i) {
    WBCQ_RETURN_IF_ERROR(op_names.check("op", i, file.ops()[i].name));
    WBCQ_RETURN_IF_ERROR(check_op(file, i, operands_end));
  }
  if (operands_end != file.operands().size()) {
    return invalid_file("section 3 (operands): has ", file.operands().size(),
                        ", the operators use ", operands_end);
  }
  return Status();
}

}  // namespace wbcq::format
