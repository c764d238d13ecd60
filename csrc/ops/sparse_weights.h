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
  std::vector<size_t> blocks;  // where the lists of every group begin, in dwords
  size_t counts;               // where the lengths of this part's lists begin
};

// Blocks of each form that are not zero, and quads of 4 weights of 1 output in all.
struct SparseCensus {
  std::array<size_t, kSparseForms> blocks;
  size_t quads;
};
SparseCensus take_census(const Conv2dSpec& spec);

class SparseWeights {
 public:
  SparseWeights(const Conv2dSpec& spec, size_t form);

  size_t groups() const { return start_.size() / kSparseGroup; }
  size_t segments() const { return segments_; }
  size_t most_quads() const { return most_quads_; }  // of a part
  const std::vector<SparsePart>& parts() const { return parts_; }
  double density() const { return density_; }
  size_t bytes() const {
    return blocks_.size() * sizeof(int32_t) + counts_.size() * sizeof(uint32_t) +
           start_.size() * (sizeof(int32_t) + 2 * sizeof(float));
  }
  // Where a tile finds what belongs to the groups from `group` on.
  void point(const SparsePart& part, size_t group, SparseTile& tile) const {
    tile.blocks = blocks_.data() + part.blocks[group];
    tile.counts = counts_.data() + part.counts + group * lists_;
    tile.start = start_.data() + group * kSparseGroup;
    tile.mult = mult_.data() + group * kSparseGroup;
    tile.bias = bias_.data() + group * kSparseGroup;
  }

 private:
  void split_depth(const Conv2dSpec& spec);
  void pack_part(const Conv2dSpec& spec, SparsePart& part);

  size_t segments_;
  size_t lists_;  // of a group
  size_t most_quads_ = 0;
  double density_;
  std::vector<SparsePart> parts_;
  std::vector<int32_t> blocks_;
  std::vector<uint32_t> counts_;
  std::vector<int32_t> start_;
  std::vector<float> mult_;
  std::vector<float> bias_;
};

}  // namespace wbcq

#endif  // WBCQ_OPS_SPARSE_WEIGHTS_H_
