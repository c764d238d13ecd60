// The contract of sparse.h in plain C++, for machines without kernels of their own and as what the
// others are compared with.
#include <cstring>

#include "kernels/sparse/sparse.h"
#include "quant/requant.h"

namespace wbcq {

extern const SparseKernel sparse_reference;

namespace {

constexpr size_t kPixels = 8;

void gather(const SparseGather& args) {
  for (size_t first = 0; first < args.bytes; first += kSparseQuad) {
    const size_t bytes = args.bytes - first < kSparseQuad ? args.bytes - first : kSparseQuad;
    uint32_t* quads = args.quads + first / kSparseQuad * kPixels;
    for (size_t p = 0; p < args.count; ++p) {
      quads[p] = 0;
      std::memcpy(quads + p, args.pixels[p] + args.first + first, bytes);
    }
  }
}

void scatter(const SparseScatter& args) {
  for (size_t first = 0; first < args.bytes; first += kSparseQuad) {
    const size_t bytes = args.bytes - first < kSparseQuad ? args.bytes - first : kSparseQuad;
    const uint32_t* quads = args.quads + first / kSparseQuad * kPixels;
    for (size_t p = 0; p < args.count; ++p) {
      std::memcpy(args.pixels + p * args.pixel_stride + first, quads + p, bytes);
    }
  }
}

uint8_t byte_of(const uint32_t* quad, size_t k) {
  return reinterpret_cast<const uint8_t*>(quad)[k];
}

// Adds one list of blocks of kOutputs outputs to their sums; unsigned, because partial sums may
// leave int32 where the final value does not.
template <size_t kOutputs>
const int32_t* add_blocks(const SparseTile& tile, const int32_t* blocks, size_t count,
                          uint32_t (*sums)[kPixels]) {
  for (size_t b = 0; b < count; ++b, blocks += 1 + kOutputs) {
    const uint32_t* quads = tile.lhs + static_cast<uint32_t>(blocks[0]) / sizeof(uint32_t);
    for (size_t o = 0; o < kOutputs; ++o) {
      const auto* weights = reinterpret_cast<const int8_t*>(blocks + 1 + o);
      for (size_t p = 0; p < tile.pixels; ++p) {
        for (size_t k = 0; k < kSparseQuad; ++k) {
          sums[o][p] += static_cast<uint32_t>(byte_of(quads + p, k) * weights[k]);
        }
      }
    }
  }
  return blocks;
}

void store_u8(const SparseTile& tile, size_t group, const uint32_t (*sums)[kPixels]) {
  auto* out = static_cast<uint32_t*>(tile.out) + group * kPixels;
  for (size_t p = 0; p < tile.pixels; ++p) {
    for (size_t o = 0; o < kSparseGroup; ++o) {
      const float mult = tile.mult[group * kSparseGroup + o];
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

void store_f32(const SparseTile& tile, size_t group, const uint32_t (*sums)[kPixels]) {
  for (size_t o = group * kSparseGroup; o < (group + 1) * kSparseGroup; ++o, ++sums) {
    float* out = static_cast<float*>(tile.out) + o * kPixels;
    for (size_t p = 0; p < tile.pixels; ++p) {
      out[p] = static_cast<float>(static_cast<int32_t>((*sums)[p])) * tile.mult[o] + tile.bias[o];
    }
  }
}

template <size_t kOutputs, bool kFloat>
void run(const SparseTile& tile) {
  const int32_t* blocks = tile.blocks;
  const uint32_t* counts = tile.counts;
  for (size_t group = 0; group < tile.groups; ++group) {
    uint32_t sums[kSparseGroup][kPixels];
    int32_t* stored = tile.sums + group * kSparseGroup * kPixels;
    for (size_t o = 0; o < kSparseGroup; ++o) {
      for (size_t p = 0; p < tile.pixels; ++p) {
        const int32_t sum =
            tile.first ? tile.start[group * kSparseGroup + o] : stored[o * kPixels + p];
        sums[o][p] = static_cast<uint32_t>(sum);
      }
    }
    for (size_t o = 0; o < kSparseGroup; o += kOutputs) {
      blocks = add_blocks<kOutputs>(tile, blocks, *counts++, sums + o);
    }
    if (!tile.last) {
      for (size_t o = 0; o < kSparseGroup; ++o) {
        std::memcpy(stored + o * kPixels, sums[o], tile.pixels * sizeof(uint32_t));
      }
    } else if (kFloat) {
      store_f32(tile, group, sums);
    } else {
      store_u8(tile, group, sums);
    }
  }
}

}  // namespace

const SparseKernel sparse_reference = {
    {"sparse_u8_u8_s8c_1x4_reference", "sparse_u8_u8_s8c_4x4_reference"},
    kPixels,
    /*lhs_offset=*/0,
    gather,
    gather,
    scatter,
    {run<1, false>, run<4, false>},
    {run<1, true>, run<4, true>}};

}  // namespace wbcq
