// Reads a model file and checks all of it before anything is used: docs/design/file-format.md.
#ifndef WBCQ_FORMAT_READER_H_
#define WBCQ_FORMAT_READER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/aligned_buffer.h"
#include "base/status.h"
#include "format/format.h"
#include "format/mapped_file.h"

namespace wbcq::format {

// A model file that satisfies every rule of the format: indices are in range, shapes agree,
// attributes are inside their limits, so that its users need not check again. Views stay valid as
// long as the ModelFile, also when it is moved. Reading from several threads is safe.
class ModelFile {
 public:
  // Maps the file. Errors: kIo; kInvalidFile for everything about its contents, another version
  // too. The message begins with the path.
  static Result<ModelFile> open(const std::string& path);
  // The same of an open file; messages do not name it.
  static Result<ModelFile> open(int descriptor);
  // Copies `bytes`. Errors: kInvalidFile, kOutOfMemory.
  static Result<ModelFile> from_bytes(std::span<const std::byte> bytes);
  // Does not copy `bytes` if their alignment allows it: they must outlive the ModelFile unchanged.
  // Errors: as from_bytes().
  static Result<ModelFile> borrow(std::span<const std::byte> bytes);

  const Header& header() const { return *reinterpret_cast<const Header*>(bytes().data()); }
  std::span<const TensorRecord> tensors() const { return tensors_; }
  std::span<const BlobRecord> blobs() const { return blobs_; }
  std::span<const uint32_t> operands() const { return operands_; }
  std::span<const OpRecord> ops() const { return ops_; }  // in execution order
  std::span<const IoRecord> io() const { return io_; }    // inputs, then outputs
  std::span<const IoRecord> inputs() const { return io_.first(input_count_); }
  std::span<const IoRecord> outputs() const { return io_.subspan(input_count_); }
  std::string_view metadata() const { return metadata_; }             // UTF-8 JSON, not parsed
  std::span<const std::byte> bytes() const { return file_.bytes(); }  // the whole file
  std::string_view string_section() const { return strings_; }
  std::span<const std::byte> data_section() const { return data_; }

  // The name at `offset` of the string section: TensorRecord::name and so on.
  std::string_view string(uint32_t offset) const;

  // Indices into tensors() and blobs().
  std::span<const uint32_t> op_inputs(const OpRecord& op) const {
    return operands_.subspan(op.first_operand, op.inputs);
  }
  std::span<const uint32_t> op_outputs(const OpRecord& op) const {
    return operands_.subspan(op.first_operand + op.inputs, op.outputs);
  }
  std::span<const uint32_t> op_blobs(const OpRecord& op) const {
    return operands_.subspan(op.first_operand + op.inputs + op.outputs, op.blobs);
  }

  // The inputs of a kConv2d whose channels are convolved.
  std::span<const uint32_t> conv2d_inputs(const OpRecord& op) const {
    return op_inputs(op).first(op.inputs - (has_residual(op) ? 1u : 0u));
  }
  // The input of a kConv2d that is added to its result, or kNone.
  uint32_t conv2d_residual(const OpRecord& op) const {
    return has_residual(op) ? op_inputs(op).back() : kNone;
  }

  // As in the file, a sparse blob's mask first. 64-byte aligned; of a borrowed file
  // MappedFile::kBorrowedAlignment.
  std::span<const std::byte> blob_bytes(uint32_t blob) const {
    return data_.subspan(blobs_[blob].offset, blobs_[blob].bytes);
  }
  // Nobody will read the blob soon: a mapped file's memory for it is given back.
  void release_blob(uint32_t blob) const { file_.release(blob_bytes(blob)); }
  // The values that the file holds: all of a dense blob. T is the C++ type of its dtype.
  template <typename T>
  std::span<const T> blob_values(uint32_t blob) const {
    static_assert(std::is_same_v<T, int8_t> || std::is_same_v<T, uint8_t> ||
                  std::is_same_v<T, int32_t> || std::is_same_v<T, float>);
    const std::span<const std::byte> raw = blob_bytes(blob).subspan(mask_bytes(blob));
    return {reinterpret_cast<const T*>(raw.data()), raw.size() / sizeof(T)};
  }
  // All elements: the file's own bytes, or those of a sparse blob in `expanded`, which is allocated
  // then. Errors: kOutOfMemory.
  Result<std::span<const std::byte>> blob_elements(uint32_t blob, AlignedBuffer& expanded) const;

 private:
  explicit ModelFile(MappedFile file) : file_(std::move(file)) {}
  static Result<ModelFile> from_file(MappedFile file);
  Status read_sections();
  size_t mask_bytes(uint32_t blob) const;  // 0 for a dense blob
  // A convolution of version 1.0 had one input and, perhaps, a residual.
  bool has_residual(const OpRecord& op) const {
    return header().minor == 0 ? op.inputs > 1 : op.attrs[conv2d::kHasResidual] != 0;
  }

  MappedFile file_;
  std::string_view strings_;
  std::span<const TensorRecord> tensors_;
  std::span<const BlobRecord> blobs_;
  std::span<const uint32_t> operands_;
  std::span<const OpRecord> ops_;
  std::span<const IoRecord> io_;
  size_t input_count_ = 0;
  std::string_view metadata_;
  std::span<const std::byte> data_;
};

}  // namespace wbcq::format

#endif  // WBCQ_FORMAT_READER_H_
