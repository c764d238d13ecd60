// The weights of a convolution as kernels/sparse wants them: lists of blocks that are not zero.
#ifndef WBCQ_OPS_SPARSE_WEIGHTS_H_
#define WBCQ_OPS_SPARSE_WEIGHTS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/sparse/sparse.h"
#include "ops/conv2d.h"

namespace wbcq {

// A run of channels of one kernel tap of one input; segments count taps row by row and, for each,
// inputs.
struct SparsePiece {
  size_t segment;
  size_t first_byte;
  size_t bytes;
};

// What lies in L1 at a time.
struct SparsePart {
  std::vector<SparsePiece> pieces;
  std::vector<size_t> blocks;  // where the lists of each chunk of outputs begin, in dwords
  // As kernels/sparse/sparse.h has them.
  std::vector<uint32_t> counts;
  std::vector<uint8_t> outputs;
};

// Blocks of each form that are not zero, and quads of 4 weights of 1 output in all.
struct SparseCensus {
  std::array<size_t, kSparseForms> blocks;
  size_t quads;
};
SparseCensus take_census(const Conv2dSpec& spec);
// Whether a sample of the weights has quads of zeros: most models have none, and are loaded without
// counting them.
bool may_be_sparse(const Conv2dSpec& spec);
// The most quads of a part of the depth.
size_t sparse_part_quads(const SparseKernel& kernel);

class SparseWeights {
 public:
  SparseWeights(const Conv2dSpec& spec, size_t form);

  size_t chunks() const { return start_.size() / kSparseChunk; }
  size_t segments() const { return segments_; }
  size_t most_quads() const { return most_quads_; }  // of a part
  const std::vector<SparsePart>& parts() const { return parts_; }
  double density() const { return density_; }
  size_t bytes() const;
  // Where a tile finds what belongs to a chunk of outputs.
  void point(const SparsePart& part, size_t chunk, SparseTile& tile) const {
    const size_t output = chunk * kSparseChunk;
    tile.outputs = part.outputs.data() + output;
    tile.counts = part.counts.data() + output / kSparseGroup;
    tile.blocks = blocks_.data() + part.blocks[chunk];
    tile.start = start_.data() + output;
    tile.mult = mult_.data() + output;
    tile.bias = bias_.data() + output;
  }
  // Where the last part leaves each output of a chunk, and which output each place holds.
  const uint8_t* places(size_t chunk) const { return places_.data() + chunk * kSparseChunk; }
  const uint8_t* outputs(size_t chunk) const {
    return parts_.back().outputs.data() + chunk * kSparseChunk;
  }

 private:
  void split_depth(const Conv2dSpec& spec);
  void pack_part(const Conv2dSpec& spec, size_t form, SparsePart& part);

  size_t segments_;
  size_t most_quads_ = 0;
  double density_;
  std::vector<SparsePart> parts_;
  std::vector<int32_t> blocks_;
  std::vector<uint8_t> places_;
  // Of whole chunks of outputs.
  std::vector<int32_t> start_;
  std::vector<float> mult_;
  std::vector<float> bias_;
};

}  // namespace wbcq

#endif  // WBCQ_OPS_SPARSE_WEIGHTS_H_
