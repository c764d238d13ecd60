// The scalar kernel: the contract of stem.h in plain C++, for machines without a kernel of their
// own and as what every other kernel is compared with.
#include "kernels/stem/pack.h"
#include "kernels/stem/stem.h"
#include "quant/requant.h"

namespace wbcq {

extern const StemKernel stem_reference;

namespace {

constexpr size_t kRowBytes = kStemTaps * kStemChannels;

int32_t dot_product(const StemPackedBlock& block, size_t lane, const uint8_t* const (&pixels)[3]) {
  auto sum = static_cast<uint32_t>(block.start[lane]);  // Unsigned, because sums may wrap around.
  for (size_t ky = 0; ky < kStemTaps; ++ky) {
    for (size_t i = 0; i < kRowBytes - 1; ++i) {
      sum += static_cast<uint32_t>(pixels[ky][i] * block.weights[2 * ky + i / 4][lane][i % 4]);
    }
    const int last = pixels[ky][kRowBytes - 1] * block.weights[kStemQuads - 1][lane][ky];
    sum += static_cast<uint32_t>(last);
  }
  return static_cast<int32_t>(sum);
}

void run(const StemRow& row) {
  const auto* blocks = static_cast<const StemPackedBlock*>(row.packed);
  for (size_t x = 0; x < row.width; ++x) {
    const size_t offset = x * row.stride * kStemChannels;
    const uint8_t* const pixels[3] = {row.rows[0] + offset, row.rows[1] + offset,
                                      row.rows[2] + offset};
    for (size_t c = 0; c < row.channels; ++c) {
      const StemPackedBlock& block = blocks[c / kStemBlock];
      const size_t lane = c % kStemBlock;
      row.out[x * row.channels + c] = requantize(dot_product(block, lane, pixels), block.mult[lane],
                                                 row.zero_point, row.lo, row.hi);
    }
  }
}

}  // namespace

const StemKernel stem_reference = {"stem_u8_u8_s8c_3x3c3_reference", /*least_width=*/1, run};

}  // namespace wbcq
