#include "kernels/stem/pack.h"

namespace wbcq {
namespace {

constexpr size_t kRowBytes = kStemTaps * kStemChannels;

struct Place {
  size_t quad;
  size_t byte;
};

Place place_of(size_t ky, size_t i) {
  if (i == kRowBytes - 1) return {kStemQuads - 1, ky};
  return {2 * ky + i / 4, i % 4};
}

}  // namespace

void stem_pack(const StemPackInput& input, StemPackedBlock* blocks) {
  const int8_t* weight = input.weights;
  for (size_t c = 0; c < input.channels; ++c) {
    StemPackedBlock& block = blocks[c / kStemBlock];
    const size_t lane = c % kStemBlock;
    int64_t sum = 0;
    block.weights[kStemQuads - 1][lane][kStemTaps] = 0;
    for (size_t ky = 0; ky < kStemTaps; ++ky) {
      for (size_t i = 0; i < kRowBytes; ++i, ++weight) {
        const Place place = place_of(ky, i);
        block.weights[place.quad][lane][place.byte] = *weight;
        sum += *weight;
      }
    }
    const int64_t start = input.bias[c] - int64_t{input.zero_point} * sum;
    block.start[lane] = static_cast<int32_t>(static_cast<uint32_t>(start));
    block.mult[lane] = input.multipliers[c];
  }
}

}  // namespace wbcq
