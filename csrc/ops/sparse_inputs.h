// How a tile of output pixels finds its activations and brings them into the lane order of
// kernels/sparse.
#ifndef WBCQ_OPS_SPARSE_INPUTS_H_
#define WBCQ_OPS_SPARSE_INPUTS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/status.h"
#include "ops/indirection.h"
#include "ops/op.h"
#include "ops/sparse_weights.h"

namespace wbcq {

class SparseInputs {
 public:
  SparseInputs(const std::vector<const Tensor*>& inputs, const WindowAxis& y, const WindowAxis& x,
               const SparseKernel& kernel);

  // What taps outside the picture meet. `name` is the operator's, for errors.
  Status allocate_padding(const std::string& name);
  size_t padding_bytes() const { return padding_.size(); }
  size_t count() const { return inputs_.size(); }
  // Of one picture.
  size_t bytes() const;

  // Writes pointers[segment * SparseKernel::pixels + i] for pixel pixels.begin + i of all pictures.
  void expand(const OpBuffers& buffers, Range pixels, const uint8_t** pointers) const;
  // Brings a part of the depth of `count` pixels to `rows`; `gather_rows` is one of the kernel's.
  void gather(const SparsePart& part, size_t count, const uint8_t* const* pointers, uint32_t* rows,
              SparseGatherFn gather_rows) const;

 private:
  const SparseKernel& kernel_;
  std::vector<const Tensor*> inputs_;
  std::vector<Indirection> indirections_;  // of each input
  std::vector<size_t> padding_rows_;       // where the padding row of each input lies
  AlignedBuffer padding_;
};

}  // namespace wbcq

#endif  // WBCQ_OPS_SPARSE_INPUTS_H_
