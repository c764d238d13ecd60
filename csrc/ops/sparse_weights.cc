#include "ops/sparse_weights.h"

#include <algorithm>
#include <cstring>

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

SparseWeights::SparseWeights(const Conv2dSpec& spec, size_t form)
    : segments_(spec.taps() * spec.inputs.size()), lists_(kSparseGroup / kSparseOutputs[form]) {
  const size_t outputs = round_up(spec.output->channels, kSparseGroup);
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
  for (SparsePart& part : parts_) pack_part(spec, part);
  size_t quads = 0;
  for (const Tensor* input : spec.inputs) quads += ceil_div(input->channels, kSparseQuad);
  density_ = static_cast<double>(blocks_.size() / (1 + kSparseOutputs[form])) *
             static_cast<double>(kSparseOutputs[form]) /
             static_cast<double>(quads * spec.taps() * outputs);
}

// Into parts of equal numbers of quads.
void SparseWeights::split_depth(const Conv2dSpec& spec) {
  size_t tap_quads = 0;
  for (const Tensor* input : spec.inputs) tap_quads += ceil_div(input->channels, kSparseQuad);
  const size_t quads = tap_quads * spec.taps();
  const size_t most = kPartBytes / (spec.kernels->sparse->pixels * kSparseQuad);
  const size_t count = ceil_div(quads, most);
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

void SparseWeights::pack_part(const Conv2dSpec& spec, SparsePart& part) {
  const std::vector<size_t> offsets = segment_offsets(spec);
  const size_t row_bytes = spec.kernels->sparse->pixels * kSparseQuad;
  part.counts = counts_.size();
  for (size_t group = 0; group < groups(); ++group) {
    part.blocks.push_back(blocks_.size());
    for (size_t list = 0; list < lists_; ++list) {
      uint32_t count = 0;
      size_t place = 0;
      for (const SparsePiece& piece : part.pieces) {
        const size_t channels = spec.inputs[piece.segment % spec.inputs.size()]->channels;
        for (size_t c = piece.first_byte; c < piece.first_byte + piece.bytes;
             c += kSparseQuad, place += row_bytes) {
          int32_t quads[kSparseGroup];
          const bool any = read_group(spec, group, offsets[piece.segment] + c, channels - c, quads);
          if (!any || (lists_ > 1 && quads[list] == 0)) continue;
          blocks_.push_back(static_cast<int32_t>(place));
          if (lists_ > 1) {
            blocks_.push_back(quads[list]);
          } else {
            blocks_.insert(blocks_.end(), quads, quads + kSparseGroup);
          }
          ++count;
        }
      }
      counts_.push_back(count);
    }
  }
}

}  // namespace wbcq
