// The life of an operator.
//
//   make_op()    once, when a model is loaded: checks what the format does not, packs weights for
//   the
//                kernels of one ISA. The Op is immutable and shared by every session.
//   Op::plan()   once for each batch size and thread count: how the work is cut into tiles, how
//   much
//                scratch a thread needs.
//   OpPlan::run  any number of times, from several threads at once with disjoint tiles: computes,
//   and
//                neither allocates nor locks. The result does not depend on how tiles are
//                distributed.
#ifndef WBCQ_OPS_OP_H_
#define WBCQ_OPS_OP_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "format/format.h"
#include "kernels/kernel_table.h"
#include "ops/load_options.h"
#include "ops/tensor.h"

namespace wbcq {

// First bytes of an operator's operands (of their halo, if they have one), in the file's order.
struct OpBuffers {
  std::span<const std::byte* const> inputs;
  std::span<std::byte* const> outputs;
};

class OpPlan {
 public:
  virtual ~OpPlan() = default;
  OpPlan(const OpPlan&) = delete;
  OpPlan& operator=(const OpPlan&) = delete;

  size_t tiles() const { return tiles_; }
  size_t scratch_bytes() const { return scratch_bytes_; }  // for each thread

  // Runs tiles [first, last). `scratch` is 64-byte aligned and belongs to the calling thread.
  virtual void run(const OpBuffers& buffers, size_t first, size_t last,
                   std::byte* scratch) const = 0;

 protected:
  OpPlan(size_t tiles, size_t scratch_bytes) : tiles_(tiles), scratch_bytes_(scratch_bytes) {}

 private:
  size_t tiles_;
  size_t scratch_bytes_;
};

// What one picture costs.
struct OpCost {
  uint64_t macs = 0;  // products with padding not counted
  uint64_t activation_bytes = 0;
  uint64_t weight_bytes = 0;  // read once for a whole batch
};

class Op {
 public:
  virtual ~Op() = default;
  Op(const Op&) = delete;
  Op& operator=(const Op&) = delete;

  const std::string& name() const { return name_; }    // the module path it came from
  std::string_view kind() const { return kind_; }      // "conv2d"
  std::string_view kernel() const { return kernel_; }  // the micro-kernel that does the work
  const OpCost& cost() const { return cost_; }

  virtual size_t packed_bytes() const { return 0; }
  // Whether the output may be the same memory as this input, element for element.
  virtual bool may_overwrite(size_t /*input*/) const { return false; }
  // The plan refers to this Op, which must outlive it. batch >= 1, threads >= 1.
  virtual std::unique_ptr<OpPlan> plan(size_t batch, size_t threads) const = 0;

 protected:
  Op(std::string_view name, std::string_view kind, std::string_view kernel)
      : name_(name), kind_(kind), kernel_(kernel) {}
  OpCost cost_;

 private:
  std::string name_;
  std::string_view kind_;
  std::string_view kernel_;
};

// A constant of the model file.
struct ConstBlob {
  std::span<const uint32_t> dims;
  std::span<const std::byte> bytes;

  template <typename T>
  std::span<const T> as() const {
    return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
  }
};

// Whether 3x3 convolutions take the Winograd kernels: where measurements say so, or, for tests and
// for those who cannot spare the memory, never or wherever they are exact. The bits are the same.
enum class WinogradUse { kMeasured, kNever, kAlways };

// Whether convolutions leave out the zero blocks of their weights: where measurements say so,
// never, or always. The bits are the same.
enum class SparseUse { kMeasured, kNever, kAlways };

// An operator of a validated model file (format/reader.h). Tensors and kernels outlive the Op;
// blobs need not.
struct OpSource {
  std::string_view name;
  format::OpKind kind;
  std::span<const int32_t> attrs;
  std::vector<const Tensor*> inputs;  // of a convolution with the residual, which is the last
  std::vector<const Tensor*> outputs;
  const Tensor* residual = nullptr;
  std::vector<ConstBlob> blobs;
  const KernelTable* kernels;
  MemoryChoice memory = MemoryChoice::kSpeed;
  WinogradUse winograd = WinogradUse::kMeasured;
  SparseUse sparse = SparseUse::kMeasured;
};

Result<std::unique_ptr<Op>> make_op(const OpSource& source);

Result<std::unique_ptr<Op>> make_quantize(const OpSource& source);
Result<std::unique_ptr<Op>> make_dequantize(const OpSource& source);
Result<std::unique_ptr<Op>> make_conv2d(const OpSource& source);
Result<std::unique_ptr<Op>> make_max_pool2d(const OpSource& source);
Result<std::unique_ptr<Op>> make_avg_pool2d(const OpSource& source);
Result<std::unique_ptr<Op>> make_add(const OpSource& source);
Result<std::unique_ptr<Op>> make_mul(const OpSource& source);
Result<std::unique_ptr<Op>> make_lookup(const OpSource& source);
Result<std::unique_ptr<Op>> make_resize(const OpSource& source);
Result<std::unique_ptr<Op>> make_pad(const OpSource& source);
Result<std::unique_ptr<Op>> make_unary(const OpSource& source);
Result<std::unique_ptr<Op>> make_binary(const OpSource& source);
Result<std::unique_ptr<Op>> make_softmax(const OpSource& source);
Result<std::unique_ptr<Op>> make_normalize(const OpSource& source);
Result<std::unique_ptr<Op>> make_rearrange(const OpSource& source);

// Reorders a float tensor from the caller's N, C, H, W to the engine's N, H, W, C.
std::unique_ptr<Op> make_from_planar(const Tensor& tensor);
// Reorders a float tensor from the engine's N, H, W, C to the caller's N, C, H, W.
std::unique_ptr<Op> make_to_planar(const Tensor& tensor);

}  // namespace wbcq

#endif  // WBCQ_OPS_OP_H_
