// The weights of a convolution as kernels/sparse wants them: lists of blocks that are not zero. A
// quad is 4 bytes of an output's weights: 4 int8 or one float.
#ifndef WBCQ_OPS_SPARSE_WEIGHTS_H_
#define WBCQ_OPS_SPARSE_WEIGHTS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/sparse/sparse.h"
#include "ops/tensor.h"

namespace wbcq {

// Of a convolution without groups.
struct SparseSource {
  std::span<const std::byte> weights;  // [outputs][taps][channels of all inputs]
  size_t outputs;
  size_t taps;
  std::vector<size_t>
      input_bytes;  // of a pixel of each input, or of one tap's weights that meet it
  const SparseKernel* kernel;
  bool is_float;

  size_t segments() const { return taps * input_bytes.size(); }
};

// Spec: Conv2dSpec or Conv2dF32Spec.
template <typename Spec>
SparseSource sparse_source(const Spec& spec) {
  SparseSource source = {std::as_bytes(spec.weights),
                         spec.output->channels,
                         spec.taps(),
                         {},
                         spec.kernels->sparse,
                         spec.inputs[0]->dtype == format::DType::kF32};
  for (const Tensor* input : spec.inputs) source.input_bytes.push_back(input->pixel_bytes());
  return source;
}

// What a kernel starts from and ends with, for each output. Float kernels want the bias alone.
struct SparseScales {
  std::vector<int32_t> start;
  std::vector<float> mult;
  std::vector<float> bias;
};

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

// Blocks of each form that are not zero, and quads of 1 output in all.
struct SparseCensus {
  std::array<size_t, kSparseForms> blocks;
  size_t quads;
};
SparseCensus take_census(const SparseSource& source);
// Whether a sample of the weights has quads of zeros: most models have none, and are loaded without
// counting them.
bool may_be_sparse(const SparseSource& source);
// The most quads of a part of the depth.
size_t sparse_part_quads(const SparseKernel& kernel, size_t form);

class SparseWeights {
 public:
  // `scales` of each output, or of none where the kernel has no use for them.
  SparseWeights(const SparseSource& source, SparseScales scales, size_t form);

  size_t chunks() const { return places_.size() / kSparseChunk; }
  size_t segments() const { return segments_; }
  size_t most_quads() const { return most_quads_; }  // of a part
  const std::vector<SparsePart>& parts() const { return parts_; }
  double density() const { return density_; }
  size_t bytes() const;
  // Bringing a tile into lane order, in times of a chunk of outputs.
  double gather() const;
  // Where a tile finds what belongs to a chunk of outputs.
  void point(const SparsePart& part, size_t chunk, SparseTile& tile) const {
    const size_t output = chunk * kSparseChunk;
    point_lists(part, chunk, tile);
    tile.start = scales_.start.data() + output;
    tile.mult = scales_.mult.data() + output;
    tile.bias = scales_.bias.data() + output;
  }
  void point(const SparsePart& part, size_t chunk, SparseFloatTile& tile) const {
    point_lists(part, chunk, tile);
    tile.bias = scales_.bias.data() + chunk * kSparseChunk;
  }
  // Where the last part leaves each output of a chunk, and which output each place holds.
  const uint8_t* places(size_t chunk) const { return places_.data() + chunk * kSparseChunk; }
  const uint8_t* outputs(size_t chunk) const {
    return parts_.back().outputs.data() + chunk * kSparseChunk;
  }

 private:
  template <typename Tile>
  void point_lists(const SparsePart& part, size_t chunk, Tile& tile) const {
    const size_t output = chunk * kSparseChunk;
    tile.outputs = part.outputs.data() + output;
    tile.counts = part.counts.data() + output / kSparseGroup;
    tile.blocks = blocks_.data() + part.blocks[chunk];
  }
  void split_depth(const SparseSource& source);
  void pack_part(const SparseSource& source, size_t form, SparsePart& part);

  size_t segments_;
  size_t form_;
  size_t quads_ = 0;
  size_t most_quads_ = 0;
  double density_;
  std::vector<SparsePart> parts_;
  std::vector<int32_t> blocks_;
  std::vector<uint8_t> places_;
  SparseScales scales_;  // of whole chunks of outputs
};

}  // namespace wbcq

#endif  // WBCQ_OPS_SPARSE_WEIGHTS_H_
