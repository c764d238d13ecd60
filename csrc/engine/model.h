// A loaded model: operators prepared for one ISA. Immutable; sessions and threads share it.
#ifndef WBCQ_ENGINE_MODEL_H_
#define WBCQ_ENGINE_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "cpu/isa.h"
#include "format/reader.h"
#include "ops/load_options.h"
#include "ops/op.h"

namespace wbcq {

// What the caller passes or receives: float32, C-contiguous, PyTorch's order.
struct IoSpec {
  std::string name;
  std::vector<int64_t> shape;  // shape[0] is -1, the batch
  size_t elements;             // of one picture
};

// Where a tensor's memory comes from.
struct Place {
  enum class Kind { kArena, kInput, kOutput };
  Kind kind = Kind::kArena;
  size_t index = 0;  // of the caller's input or output
};

// An operator and the tensors it works on, in execution order.
struct Step {
  std::unique_ptr<Op> op;
  std::vector<size_t> inputs;
  std::vector<size_t> outputs;
};

class Model {
 public:
  // Errors: kIo, kInvalidFile, kUnsupported, kInvalidArgument, kOutOfMemory.
  static Result<std::shared_ptr<const Model>> open(const std::string& path,
                                                   const LoadOptions& options);
  // Of a file that is open for reading; it may be closed afterwards.
  static Result<std::shared_ptr<const Model>> open(int descriptor, const LoadOptions& options);
  static Result<std::shared_ptr<const Model>> from_bytes(std::span<const std::byte> bytes,
                                                         const LoadOptions& options);
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  Isa isa() const { return isa_; }
  MemoryChoice memory() const { return memory_; }
  const std::string& metadata() const { return metadata_; }
  const std::vector<IoSpec>& inputs() const { return inputs_; }
  const std::vector<IoSpec>& outputs() const { return outputs_; }
  size_t packed_bytes() const;

  const std::vector<Step>& steps() const { return steps_; }
  const std::vector<Tensor>& tensors() const { return tensors_; }
  const Place& place(size_t tensor) const { return places_[tensor]; }
  // The tensor in whose memory a tensor lies: a view's parent, or the tensor itself.
  size_t root(size_t tensor) const { return roots_[tensor]; }
  // Whether the memory of a root holds views as well.
  bool has_views(size_t root) const { return has_views_[root]; }

 private:
  Model() = default;
  static Result<std::shared_ptr<const Model>> load(Result<format::ModelFile> file,
                                                   const LoadOptions& options);
  void read_tensors(const format::ModelFile& file);
  void read_io(const format::ModelFile& file);
  std::string_view read_tuned(const LoadOptions& options, size_t operators) const;
  Status read_ops(const format::ModelFile& file, const KernelTable& kernels,
                  const LoadOptions& options);
  size_t add_planar_copy(size_t tensor, const Place& place);
  void add_planar_inputs();
  void add_planar_outputs();

  Isa isa_ = Isa::kScalar;
  MemoryChoice memory_ = MemoryChoice::kSpeed;
  std::string metadata_;
  std::vector<IoSpec> inputs_;
  std::vector<IoSpec> outputs_;
  std::vector<Tensor> tensors_;  // never resized once operators refer to them
  std::vector<Place> places_;    // of each tensor
  std::vector<size_t> roots_;    // of each tensor
  std::vector<bool> has_views_;  // of each tensor
  // Tensors and the caller's arrays of them, which need reordering: pairs of tensors.
  std::vector<std::pair<size_t, size_t>> reordered_inputs_;
  std::vector<std::pair<size_t, size_t>> reordered_outputs_;
  std::vector<Step> steps_;
};

}  // namespace wbcq

#endif  // WBCQ_ENGINE_MODEL_H_
