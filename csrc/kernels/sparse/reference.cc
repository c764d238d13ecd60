// The contract of sparse.h in plain C++, for machines without kernels of their own and as what the
// others are compared with.
#include <algorithm>
#include <cstring>

#include "kernels/sparse/sparse.h"
#include "quant/requant.h"

namespace wbcq {

extern const SparseKernel sparse_reference;

namespace {

constexpr size_t kPixels = 8;

uint8_t byte_of(const uint32_t* quad, size_t k) {
  return reinterpret_cast<const uint8_t*>(quad)[k];
}

void gather(const SparseGather& args) {
  for (size_t b = 0; b < (args.bytes + kSparseQuad - 1) / kSparseQuad * kSparseQuad; ++b) {
    const size_t from = args.order != nullptr ? args.order[b] : b;
    if (from >= args.bytes) continue;
    auto* quads = reinterpret_cast<uint8_t*>(args.quads + b / kSparseQuad * kPixels);
    for (size_t p = 0; p < args.count; ++p) {
      quads[p * kSparseQuad + b % kSparseQuad] = args.pixels[p][args.first + from];
    }
  }
}

void scatter(const SparseScatter& args) {
  for (size_t b = 0; b < args.bytes; ++b) {
    const size_t from = args.order != nullptr ? args.order[b] : b;
    const uint32_t* quads = args.quads + from / kSparseQuad * kPixels;
    for (size_t p = 0; p < args.count; ++p) {
      args.pixels[p * args.pixel_stride + b] = byte_of(quads + p, from % kSparseQuad);
    }
  }
}

// Adds the product of a quad's pixels with the weights of one output, modulo 2^32: partial sums may
// leave int32 where the final value does not.
void add_block(const SparseTile& tile, size_t row, int32_t quad, uint32_t (&sums)[kPixels]) {
  const uint32_t* quads = tile.lhs + row * kPixels;
  const auto* weights = reinterpret_cast<const int8_t*>(&quad);
  for (size_t p = 0; p < tile.pixels; ++p) {
    for (size_t k = 0; k < kSparseQuad; ++k) {
      sums[p] += static_cast<uint32_t>(byte_of(quads + p, k) * weights[k]);
    }
  }
}

void store_u8(const SparseTile& tile, size_t group, const uint32_t (*sums)[kPixels]) {
  auto* out = static_cast<uint32_t*>(tile.out) + group * kPixels;
  for (size_t p = 0; p < tile.pixels; ++p) {
    for (size_t o = 0; o < kSparseGroup; ++o) {
      const float mult = tile.mult[tile.outputs[group * kSparseGroup + o]];
      const auto sum = static_cast<int32_t>(sums[o][p]);
      uint8_t& byte = reinterpret_cast<uint8_t*>(out + p)[o];
      if (tile.residual == nullptr) {
        byte = requantize(sum, mult, tile.zero_point, tile.lo, tile.hi);
      } else {
        const int32_t residual =
            byte_of(tile.residual + group * kPixels + p, o) - tile.residual_zero_point;
        byte = requantize_add(sum, mult, residual, tile.residual_multiplier, tile.zero_point,
                              tile.lo, tile.hi);
      }
    }
  }
}

void store_f32(const SparseTile& tile, size_t output, const uint32_t (&sums)[kPixels]) {
  float* out = static_cast<float*>(tile.out) + output * kPixels;
  for (size_t p = 0; p < tile.pixels; ++p) {
    out[p] =
        static_cast<float>(static_cast<int32_t>(sums[p])) * tile.mult[output] + tile.bias[output];
  }
}

// Of the four outputs of a step.
struct StepRows {
  StepRows(const int32_t* blocks, size_t form) : outputs(kSparseOutputs[form]) {
    std::memcpy(rows, blocks, (kSparseStepDwords[form] - kSparseGroup) * sizeof(int32_t));
  }
  size_t operator[](size_t o) const { return rows[o / outputs]; }

  size_t outputs;
  uint16_t rows[kSparseGroup];
};

void run(const SparseTile& tile, size_t form, bool head) {
  const int32_t* blocks = tile.blocks;
  for (size_t group = 0; group < tile.groups; ++group) {
    const uint8_t* outputs = tile.outputs + group * kSparseGroup;
    uint32_t sums[kSparseGroup][kPixels];
    for (size_t o = 0; o < kSparseGroup; ++o) {
      for (size_t p = 0; p < tile.pixels; ++p) {
        sums[o][p] = static_cast<uint32_t>(tile.first ? tile.start[outputs[o]]
                                                      : tile.sums[outputs[o] * kPixels + p]);
      }
    }
    for (uint32_t step = 0; step < tile.counts[group]; ++step) {
      const StepRows rows(blocks, form);
      const int32_t* weights = blocks + kSparseStepDwords[form] - kSparseGroup;
      for (size_t o = 0; o < kSparseGroup; ++o) {
        add_block(tile, rows[o], weights[o], sums[o]);
      }
      blocks += kSparseStepDwords[form];
    }
    for (size_t o = 0; o < kSparseGroup; ++o) {
      if (!tile.last) {
        std::memcpy(tile.sums + outputs[o] * kPixels, sums[o], tile.pixels * sizeof(uint32_t));
      } else if (head) {
        store_f32(tile, outputs[o], sums[o]);
      }
    }
    if (tile.last && !head) store_u8(tile, group, sums);
  }
}

template <size_t kForm, bool kHead>
void run(const SparseTile& tile) {
  run(tile, kForm, kHead);
}

template <size_t kForm>
void run_float(const SparseFloatTile& tile) {
  const int32_t* blocks = tile.blocks;
  for (size_t group = 0; group < tile.groups; ++group) {
    const uint8_t* outputs = tile.outputs + group * kSparseGroup;
    for (size_t o = 0; tile.first && o < kSparseGroup; ++o) {
      std::fill_n(tile.sums + outputs[o] * kPixels, tile.pixels, tile.bias[outputs[o]]);
    }
    for (uint32_t step = 0; step < tile.counts[group]; ++step) {
      const StepRows rows(blocks, kForm);
      float weights[kSparseGroup];
      std::memcpy(weights, blocks + kSparseStepDwords[kForm] - kSparseGroup, sizeof(weights));
      for (size_t o = 0; o < kSparseGroup; ++o) {
        const float* x = tile.lhs + rows[o] * kPixels;
        float* sums = tile.sums + outputs[o] * kPixels;
        for (size_t p = 0; p < tile.pixels; ++p) sums[p] += x[p] * weights[o];
      }
      blocks += kSparseStepDwords[kForm];
    }
    for (size_t o = 0; tile.last && o < kSparseGroup; ++o) {
      for (size_t p = outputs[o] * kPixels; p < outputs[o] * kPixels + tile.pixels; ++p) {
        float value = tile.sums[p];
        if (tile.residual != nullptr) value += tile.residual[p];
        value = value < tile.lo ? tile.lo : value;
        tile.sums[p] = value > tile.hi ? tile.hi : value;
      }
    }
  }
}

}  // namespace

const SparseKernel sparse_reference = {
    {"sparse_u8_u8_s8c_1x4_reference", "sparse_u8_u8_s8c_2x4_reference",
     "sparse_u8_u8_s8c_4x4_reference"},
    kPixels,
    {kSparsePartBytes, kSparsePartBytes, kSparsePartBytes},
    /*lhs_offset=*/0,
    gather,
    gather,
    scatter,
    {run<0, false>, run<1, false>, run<2, false>},
    {run<0, true>, run<1, true>, run<2, true>},
    {"sparse_f32_f32_f32_1x1_reference", "sparse_f32_f32_f32_2x1_reference",
     "sparse_f32_f32_f32_4x1_reference"},
    {run_float<0>, run_float<1>, run_float<2>}};

}  // namespace wbcq
