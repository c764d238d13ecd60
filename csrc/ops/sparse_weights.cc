#include "ops/sparse_weights.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

namespace wbcq {
namespace {

// Where the weights of each segment begin, for one output channel.
std::vector<size_t> segment_offsets(const SparseSource& source) {
  std::vector<size_t> offsets;
  size_t offset = 0;
  for (size_t tap = 0; tap < source.taps; ++tap) {
    for (const size_t bytes : source.input_bytes) {
      offsets.push_back(offset);
      offset += bytes;
    }
  }
  return offsets;
}

// One output's weights of a quad; zero beyond the last channel.
int32_t quad_at(const SparseSource& source, size_t offset, size_t bytes) {
  int32_t quad = 0;
  std::memcpy(&quad, source.weights.data() + offset, std::min(bytes, kSparseQuad));
  // A weight that was multiplied by a mask may be -0.
  if (source.is_float && (quad & 0x7FFFFFFF) == 0) return 0;
  return quad;
}

// Whether any weight of a block is not zero.
bool is_block(const int32_t* quads, size_t form) {
  return std::any_of(quads, quads + kSparseOutputs[form], [](int32_t quad) { return quad != 0; });
}

// The weights of a group's outputs for one quad; zero beyond the last output. False if all are.
bool read_group(const SparseSource& source, size_t group, size_t offset, size_t bytes,
                int32_t (&quads)[kSparseGroup]) {
  const size_t depth = source.weights.size() / source.outputs;
  bool any = false;
  for (size_t i = 0; i < kSparseGroup; ++i) {
    const size_t o = group * kSparseGroup + i;
    quads[i] = 0;
    if (o < source.outputs) quads[i] = quad_at(source, o * depth + offset, bytes);
    any |= quads[i] != 0;
  }
  return any;
}

}  // namespace

SparseCensus take_census(const SparseSource& source) {
  SparseCensus census = {};
  const std::vector<size_t> offsets = segment_offsets(source);
  const size_t groups = ceil_div(source.outputs, kSparseGroup);
  for (size_t segment = 0; segment < offsets.size(); ++segment) {
    const size_t bytes = source.input_bytes[segment % source.input_bytes.size()];
    census.quads += ceil_div(bytes, kSparseQuad) * source.outputs;
    for (size_t group = 0; group < groups; ++group) {
      for (size_t b = 0; b < bytes; b += kSparseQuad) {
        int32_t quads[kSparseGroup];
        if (!read_group(source, group, offsets[segment] + b, bytes - b, quads)) continue;
        for (size_t form = 0; form < kSparseForms; ++form) {
          for (size_t o = 0; o < kSparseGroup; o += kSparseOutputs[form]) {
            census.blocks[form] += is_block(quads + o, form) ? 1 : 0;
          }
        }
      }
    }
  }
  return census;
}

// At the fewest zeros that pay a sample of this size without any is not to be met.
bool may_be_sparse(const SparseSource& source) {
  constexpr size_t kSamples = 256;
  const size_t quads = source.weights.size() / kSparseQuad;
  const size_t step = std::max<size_t>(1, quads / kSamples);
  size_t zeros = 0;
  for (size_t i = 0; i < quads; i += step) {
    zeros += quad_at(source, i * kSparseQuad, kSparseQuad) == 0 ? 1 : 0;
  }
  return zeros > 0;
}

size_t sparse_part_quads(const SparseKernel& kernel, size_t form) {
  return kernel.part_bytes[form] / (kernel.pixels * kSparseQuad);
}

SparseWeights::SparseWeights(const SparseSource& source, SparseScales scales, size_t form)
    : segments_(source.segments()), form_(form), scales_(std::move(scales)) {
  const size_t outputs = round_up(source.outputs, kSparseChunk);
  places_.resize(outputs);
  scales_.start.resize(outputs);
  scales_.mult.resize(outputs);
  scales_.bias.resize(outputs);
  split_depth(source);
  for (SparsePart& part : parts_) pack_part(source, form, part);
  const std::vector<uint8_t>& order = parts_.back().outputs;
  for (size_t i = 0; i < outputs; ++i) {
    const size_t chunk = i / kSparseChunk * kSparseChunk;
    places_[chunk + order[i]] = static_cast<uint8_t>(i - chunk);
  }
  const SparseCensus census = take_census(source);
  density_ = static_cast<double>(census.blocks[0]) / static_cast<double>(census.quads);
}

size_t SparseWeights::bytes() const {
  size_t bytes = blocks_.size() * sizeof(int32_t) + places_.size() +
                 places_.size() * (sizeof(int32_t) + 2 * sizeof(float));
  for (const SparsePart& part : parts_) {
    bytes += part.counts.size() * sizeof(uint32_t) + part.outputs.size();
  }
  return bytes;
}

// A quad takes as long as a step of a list, what is done for a group of outputs as five (AVX-512
// and AVX2, docs/design/sparse.md).
double SparseWeights::gather() const {
  constexpr size_t kGroupSteps = 5;
  const size_t groups = places_.size() / kSparseGroup;
  const size_t steps = blocks_.size() / kSparseStepDwords[form_] + groups * kGroupSteps;
  return static_cast<double>(quads_ * chunks()) / static_cast<double>(steps);
}

// Into parts of equal numbers of quads.
void SparseWeights::split_depth(const SparseSource& source) {
  size_t tap_quads = 0;
  for (const size_t bytes : source.input_bytes) tap_quads += ceil_div(bytes, kSparseQuad);
  const size_t quads = tap_quads * source.taps;
  const size_t count = ceil_div(quads, sparse_part_quads(*source.kernel, form_));
  size_t segment = 0;
  size_t first = 0;
  for (size_t p = 0; p < count; ++p) {
    SparsePart& part = parts_.emplace_back();
    size_t left = split_evenly(quads, count, p).size();
    most_quads_ = std::max(most_quads_, left);
    quads_ += left;
    while (left > 0) {
      const size_t input_bytes = source.input_bytes[segment % source.input_bytes.size()];
      const size_t bytes = std::min(input_bytes - first, left * kSparseQuad);
      part.pieces.push_back({segment, first, bytes});
      left -= ceil_div(bytes, kSparseQuad);
      first += bytes;
      if (first == input_bytes) {
        first = 0;
        ++segment;
      }
    }
  }
}

// Lists are sorted by their length, and four that follow one another made a group.
void SparseWeights::pack_part(const SparseSource& source, size_t form, SparsePart& part) {
  struct Block {
    uint16_t row;
    int32_t weights[kSparseGroup];
  };
  const std::vector<size_t> offsets = segment_offsets(source);
  const size_t block_outputs = kSparseOutputs[form];
  std::vector<std::vector<Block>> lists(kSparseChunk / block_outputs);
  std::vector<size_t> order(lists.size());
  for (size_t chunk = 0; chunk < chunks(); ++chunk) {
    part.blocks.push_back(blocks_.size());
    for (std::vector<Block>& list : lists) list.clear();
    uint16_t row = 0;
    for (const SparsePiece& piece : part.pieces) {
      const size_t bytes = source.input_bytes[piece.segment % source.input_bytes.size()];
      for (size_t b = piece.first_byte; b < piece.first_byte + piece.bytes; b += kSparseQuad) {
        for (size_t i = 0; i < kSparseChunk / kSparseGroup; ++i) {
          const size_t group = chunk * kSparseChunk / kSparseGroup + i;
          int32_t quads[kSparseGroup];
          if (!read_group(source, group, offsets[piece.segment] + b, bytes - b, quads)) continue;
          for (size_t o = 0; o < kSparseGroup; o += block_outputs) {
            if (!is_block(quads + o, form)) continue;
            Block block = {row, {}};
            std::copy_n(quads + o, block_outputs, block.weights);
            lists[(i * kSparseGroup + o) / block_outputs].push_back(block);
          }
        }
        ++row;
      }
    }
    std::iota(order.begin(), order.end(), size_t{0});
    // Insertion, of at most 64: a library's sort takes more code than all else here. Places without
    // an output stay at the end.
    const size_t columns = std::min(kSparseChunk, source.outputs - chunk * kSparseChunk);
    for (size_t i = 1; i < ceil_div(columns, block_outputs); ++i) {
      for (size_t j = i; j > 0 && lists[order[j - 1]].size() < lists[order[j]].size(); --j) {
        std::swap(order[j - 1], order[j]);
      }
    }
    const size_t group_lists = kSparseGroup / block_outputs;
    for (size_t first = 0; first < order.size(); first += group_lists) {
      const size_t steps = lists[order[first]].size();
      part.counts.push_back(static_cast<uint32_t>(steps));
      for (size_t i = first; i < first + group_lists; ++i) {
        for (size_t o = 0; o < block_outputs; ++o) {
          part.outputs.push_back(static_cast<uint8_t>(order[i] * block_outputs + o));
        }
      }
      for (size_t step = 0; step < steps; ++step) {
        uint16_t rows[kSparseGroup] = {};
        int32_t weights[kSparseGroup] = {};
        for (size_t i = 0; i < group_lists; ++i) {
          const std::vector<Block>& list = lists[order[first + i]];
          if (step >= list.size()) continue;
          rows[i] = list[step].row;
          std::copy_n(list[step].weights, block_outputs, weights + i * block_outputs);
        }
        const size_t at = blocks_.size();
        blocks_.resize(at + kSparseStepDwords[form]);
        const size_t row_dwords = kSparseStepDwords[form] - kSparseGroup;
        std::memcpy(blocks_.data() + at, rows, row_dwords * sizeof(int32_t));
        std::copy_n(weights, kSparseGroup, blocks_.end() - kSparseGroup);
      }
    }
  }
}

}  // namespace wbcq
