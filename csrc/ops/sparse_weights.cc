#include "ops/sparse_weights.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace wbcq {
namespace {

// Of a tile's activations in lane order: a share of L1 (32 to 48 KB) that leaves room for sums and
// blocks on their way through.
constexpr size_t kPartBytes = 36 * 1024;

// Where the weights of each segment begin, for one output channel.
std::vector<size_t> segment_offsets(const Conv2dSpec& spec) {
  std::vector<size_t> offsets;
  size_t offset = 0;
  for (size_t tap = 0; tap < spec.taps(); ++tap) {
    for (const Tensor* input : spec.inputs) {
      offsets.push_back(offset);
      offset += input->channels;
    }
  }
  return offsets;
}

// One output's weights of a quad; zero beyond the last channel.
int32_t quad_at(const int8_t* weights, size_t channels) {
  int32_t quad = 0;
  std::memcpy(&quad, weights, std::min(channels, kSparseQuad));
  return quad;
}

size_t depth_of(const Conv2dSpec& spec) { return spec.taps() * spec.in_channels(); }

// The weights of a group's outputs for one quad; zero beyond the last output. False if all are.
bool read_group(const Conv2dSpec& spec, size_t group, size_t offset, size_t channels,
                int32_t (&quads)[kSparseGroup]) {
  bool any = false;
  for (size_t i = 0; i < kSparseGroup; ++i) {
    const size_t o = group * kSparseGroup + i;
    quads[i] = 0;
    if (o < spec.output->channels) {
      quads[i] = quad_at(spec.weights.data() + o * depth_of(spec) + offset, channels);
    }
    any |= quads[i] != 0;
  }
  return any;
}

}  // namespace

SparseCensus take_census(const Conv2dSpec& spec) {
  SparseCensus census = {};
  const std::vector<size_t> offsets = segment_offsets(spec);
  const size_t groups = ceil_div(spec.output->channels, kSparseGroup);
  for (size_t segment = 0; segment < offsets.size(); ++segment) {
    const size_t channels = spec.inputs[segment % spec.inputs.size()]->channels;
    census.quads += ceil_div(channels, kSparseQuad) * spec.output->channels;
    for (size_t group = 0; group < groups; ++group) {
      for (size_t c = 0; c < channels; c += kSparseQuad) {
        int32_t quads[kSparseGroup];
        if (!read_group(spec, group, offsets[segment] + c, channels - c, quads)) continue;
        ++census.blocks[1];
        for (const int32_t quad : quads) census.blocks[0] += quad != 0 ? 1 : 0;
      }
    }
  }
  return census;
}

// At the fewest zeros that pay a sample of this size without any is not to be met.
bool may_be_sparse(const Conv2dSpec& spec) {
  constexpr size_t kSamples = 256;
  const size_t quads = spec.weights.size() / kSparseQuad;
  const size_t step = std::max<size_t>(1, quads / kSamples);
  size_t zeros = 0;
  for (size_t i = 0; i < quads; i += step) {
    zeros += quad_at(spec.weights.data() + i * kSparseQuad, kSparseQuad) == 0 ? 1 : 0;
  }
  return zeros > 0;
}

size_t sparse_part_quads(const SparseKernel& kernel) {
  return kPartBytes / (kernel.pixels * kSparseQuad);
}

SparseWeights::SparseWeights(const Conv2dSpec& spec, size_t form)
    : segments_(spec.taps() * spec.inputs.size()) {
  const size_t outputs = round_up(spec.output->channels, kSparseChunk);
  start_.resize(outputs);
  mult_.resize(outputs);
  bias_.resize(outputs);
  const int64_t lhs_offset = spec.kernels->sparse->lhs_offset;
  const int8_t* weights = spec.weights.data();
  for (size_t o = 0; o < spec.output->channels; ++o) {
    int64_t sum = spec.bias.empty() ? 0 : spec.bias[o];
    for (size_t tap = 0; tap < spec.taps(); ++tap) {
      for (const Tensor* input : spec.inputs) {
        const int64_t zero_point = input->zero_point - lhs_offset;
        for (size_t c = 0; c < input->channels; ++c) sum -= zero_point * *weights++;
      }
    }
    start_[o] = static_cast<int32_t>(static_cast<uint32_t>(sum));
    mult_[o] = spec.multipliers[o];
    if (!spec.float_bias.empty()) bias_[o] = spec.float_bias[o];
  }
  split_depth(spec);
  for (SparsePart& part : parts_) pack_part(spec, form, part);
  places_.resize(outputs);
  const std::vector<uint8_t>& order = parts_.back().outputs;
  for (size_t i = 0; i < outputs; ++i) {
    const size_t chunk = i / kSparseChunk * kSparseChunk;
    places_[chunk + order[i]] = static_cast<uint8_t>(i - chunk);
  }
  const SparseCensus census = take_census(spec);
  density_ = static_cast<double>(census.blocks[0]) / static_cast<double>(census.quads);
}

size_t SparseWeights::bytes() const {
  size_t bytes = blocks_.size() * sizeof(int32_t) + places_.size() +
                 start_.size() * (sizeof(int32_t) + 2 * sizeof(float));
  for (const SparsePart& part : parts_) {
    bytes += part.counts.size() * sizeof(uint32_t) + part.outputs.size();
  }
  return bytes;
}

// Into parts of equal numbers of quads.
void SparseWeights::split_depth(const Conv2dSpec& spec) {
  size_t tap_quads = 0;
  for (const Tensor* input : spec.inputs) tap_quads += ceil_div(input->channels, kSparseQuad);
  const size_t quads = tap_quads * spec.taps();
  const size_t count = ceil_div(quads, sparse_part_quads(*spec.kernels->sparse));
  size_t segment = 0;
  size_t first = 0;
  for (size_t p = 0; p < count; ++p) {
    SparsePart& part = parts_.emplace_back();
    size_t left = split_evenly(quads, count, p).size();
    most_quads_ = std::max(most_quads_, left);
    while (left > 0) {
      const size_t channels = spec.inputs[segment % spec.inputs.size()]->channels;
      const size_t bytes = std::min(channels - first, left * kSparseQuad);
      part.pieces.push_back({segment, first, bytes});
      left -= ceil_div(bytes, kSparseQuad);
      first += bytes;
      if (first == channels) {
        first = 0;
        ++segment;
      }
    }
  }
}

// Lists are sorted by their length, and four that follow one another made a group.
void SparseWeights::pack_part(const Conv2dSpec& spec, size_t form, SparsePart& part) {
  struct Block {
    uint16_t row;
    int32_t weights[kSparseGroup];
  };
  const std::vector<size_t> offsets = segment_offsets(spec);
  const size_t block_outputs = kSparseOutputs[form];
  std::vector<std::vector<Block>> lists(kSparseChunk / block_outputs);
  std::vector<size_t> order(lists.size());
  for (size_t chunk = 0; chunk < chunks(); ++chunk) {
    part.blocks.push_back(blocks_.size());
    for (std::vector<Block>& list : lists) list.clear();
    uint16_t row = 0;
    for (const SparsePiece& piece : part.pieces) {
      const size_t channels = spec.inputs[piece.segment % spec.inputs.size()]->channels;
      for (size_t c = piece.first_byte; c < piece.first_byte + piece.bytes; c += kSparseQuad) {
        for (size_t i = 0; i < kSparseChunk / kSparseGroup; ++i) {
          Block block = {row, {}};
          const size_t group = chunk * kSparseChunk / kSparseGroup + i;
          if (!read_group(spec, group, offsets[piece.segment] + c, channels - c, block.weights)) {
            continue;
          }
          if (block_outputs == kSparseGroup) {
            lists[i].push_back(block);
            continue;
          }
          for (size_t o = 0; o < kSparseGroup; ++o) {
            if (block.weights[o] == 0) continue;
            lists[i * kSparseGroup + o].push_back({row, {block.weights[o]}});
          }
        }
        ++row;
      }
    }
    std::iota(order.begin(), order.end(), size_t{0});
    // Insertion, of at most 64: a library's sort takes more code than all else here. Places without
    // an output stay at the end.
    const size_t columns = std::min(kSparseChunk, spec.output->channels - chunk * kSparseChunk);
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
        if (form == 0) {
          std::memcpy(blocks_.data() + at, rows, sizeof(rows));
        } else {
          blocks_[at] = rows[0];
        }
        std::copy_n(weights, kSparseGroup, blocks_.end() - kSparseGroup);
      }
    }
  }
}

}  // namespace wbcq
