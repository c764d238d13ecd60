// First layers for AVX-512 VNNI: a tile is 16 outputs of a row. The 27 bytes under each window are
// gathered into seven vectors of four bytes for each output, which stay in registers while every
// channel multiplies them by its broadcast weights. vpdpbusd does not saturate: sums are exact
// modulo 2^32.
#include <immintrin.h>

#include "kernels/stem/pack.h"
#include "kernels/stem/stem.h"

namespace wbcq {

extern const StemKernel stem_x86_avx512vnni;

namespace {

#define WBCQ_INLINE inline __attribute__((always_inline))

constexpr size_t kTile = 16;  // outputs
constexpr size_t kVectorBytes = 64;
constexpr size_t kBlockVectors = kStemBlock / 4;  // of bytes: four channels of a tile

struct alignas(kVectorBytes) Bytes {
  uint8_t at[kVectorBytes];
  WBCQ_INLINE __m512i load() const { return _mm512_load_si512(at); }
};

// Assembly, because GCC 12 copies and spills accumulators around the builtin's tied operand.
WBCQ_INLINE void dot(__m512i& acc, __m512i pixels, const int8_t* weights) {
  __asm__ volatile("vpdpbusd %2%{1to16%}, %1, %0"
                   : "+v"(acc)
                   : "v"(pixels), "m"(*reinterpret_cast<const int32_t(*)>(weights)));
}

// Indices of four bytes for each output, `step` bytes behind the last output's.
constexpr Bytes gather_indices(size_t step, size_t first, bool repeated) {
  Bytes indices = {};
  for (size_t i = 0; i < kVectorBytes; ++i) {
    indices.at[i] = static_cast<uint8_t>(i / 4 * step + first + (repeated ? 0 : i % 4));
  }
  return indices;
}

// Takes the bytes under the windows of a tile apart.
template <size_t kStride>
class Gather {
 public:
  WBCQ_INLINE void load(const uint8_t* const (&rows)[kStemTaps], size_t offset,
                        __m512i (&quads)[kStemQuads]) const {
    __m512i lasts[kStemTaps];
#pragma GCC unroll 3
    for (size_t ky = 0; ky < kStemTaps; ++ky) {
      const uint8_t* row = rows[ky] + offset;
      const __m512i low = _mm512_maskz_loadu_epi8(kLowMask, row);
      const __m512i high =
          kHighMask != 0 ? _mm512_maskz_loadu_epi8(kHighMask, row + kVectorBytes) : low;
      quads[2 * ky] = _mm512_permutex2var_epi8(low, kFirst.load(), high);
      quads[2 * ky + 1] = _mm512_permutex2var_epi8(low, kSecond.load(), high);
      const __mmask64 slot = 0x1111111111111111u << ky;
      lasts[ky] = _mm512_maskz_permutex2var_epi8(slot, low, kLast.load(), high);
    }
    constexpr int kOr = 0xFE;
    quads[6] = _mm512_ternarylogic_epi32(lasts[0], lasts[1], lasts[2], kOr);
  }

 private:
  static constexpr size_t kStep = kStride * kStemChannels;
  static constexpr size_t kSpan = (kTile - 1) * kStep + kStemTaps * kStemChannels;
  static constexpr __mmask64 kLowMask =
      kSpan >= kVectorBytes ? ~uint64_t{0} : (uint64_t{1} << kSpan) - 1;
  static constexpr __mmask64 kHighMask = kSpan > kVectorBytes
                                             ? (uint64_t{1} << (kSpan - kVectorBytes)) - 1
                                             : 0;
  static constexpr Bytes kFirst = gather_indices(kStep, 0, false);
  static constexpr Bytes kSecond = gather_indices(kStep, 4, false);
  static constexpr Bytes kLast = gather_indices(kStep, 8, true);
};

// From accumulators to bytes.
class Epilogue {
 public:
  explicit Epilogue(const StemRow& row)
      : zero_point_(_mm512_set1_epi16(static_cast<int16_t>(row.zero_point))),
        hi_(_mm512_set1_epi8(static_cast<char>(row.hi))),
        lo_(_mm512_set1_epi8(static_cast<char>(row.lo))) {}

  // Lane l of the result: outputs 4 l to 4 l + 3 of channel 0, then of channels 1, 2 and 3.
  WBCQ_INLINE __m512i narrow(const __m512i* acc, const float* mult) const {
    const __m512i words01 = _mm512_packs_epi32(scale(acc[0], mult[0]), scale(acc[1], mult[1]));
    const __m512i words23 = _mm512_packs_epi32(scale(acc[2], mult[2]), scale(acc[3], mult[3]));
    const __m512i bytes = _mm512_packus_epi16(_mm512_adds_epi16(words01, zero_point_),
                                              _mm512_adds_epi16(words23, zero_point_));
    return _mm512_max_epu8(_mm512_min_epu8(bytes, hi_), lo_);
  }

 private:
  WBCQ_INLINE static __m512i scale(__m512i acc, float mult) {
    return _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(acc), _mm512_set1_ps(mult)));
  }
  __m512i zero_point_;
  __m512i hi_;
  __m512i lo_;
};

// How the bytes of a tile, four channels a vector as Epilogue::narrow() leaves them, become pixels:
// vector k of the result takes some of its bytes from each pair of vectors.
template <size_t kVectors>
struct Interleave {
  static constexpr size_t kChannels = 4 * kVectors;
  static constexpr size_t kPairs = kVectors / 2;

  struct Tables {
    Bytes index[kVectors][kPairs] = {};
    __mmask64 mask[kVectors][kPairs] = {};
  };
  static constexpr Tables make_tables() {
    Tables tables;
    for (size_t byte = 0; byte < kVectors * kVectorBytes; ++byte) {
      const size_t output = byte / kChannels;
      const size_t channel = byte % kChannels;
      const size_t vector = channel / 4;
      const size_t place = output / 4 * 16 + channel % 4 * 4 + output % 4;
      const size_t k = byte / kVectorBytes;
      tables.index[k][vector / 2].at[byte % kVectorBytes] =
          static_cast<uint8_t>(vector % 2 * kVectorBytes + place);
      tables.mask[k][vector / 2] |= uint64_t{1} << byte % kVectorBytes;
    }
    return tables;
  }
  static constexpr Tables kTables = make_tables();

  WBCQ_INLINE static void store(const Bytes* bytes, uint8_t* out) {
#pragma GCC unroll 8
    for (size_t k = 0; k < kVectors; ++k) {
      __m512i pixels = _mm512_setzero_si512();
#pragma GCC unroll 4
      for (size_t pair = 0; pair < kPairs; ++pair) {
        const __m512i some = _mm512_maskz_permutex2var_epi8(
            kTables.mask[k][pair], bytes[2 * pair].load(), kTables.index[k][pair].load(),
            bytes[2 * pair + 1].load());
        pixels = pair == 0 ? some : _mm512_or_si512(pixels, some);
      }
      _mm512_storeu_si512(out + k * kVectorBytes, pixels);
    }
  }
};

template <size_t kStride, size_t kBlocks>
void run_blocks(const StemRow& row) {
  const Gather<kStride> gather;
  const Epilogue epilogue(row);
  const auto* packed = static_cast<const StemPackedBlock*>(row.packed);
  using Pixels = Interleave<kBlocks * kBlockVectors>;
  // A tile is stored while the next one multiplies: its last bytes come late.
  Bytes bytes[2][kBlocks * kBlockVectors];
  uint8_t* out = nullptr;
  size_t turn = 0;
  for (size_t x = 0; x < row.width; x += kTile, turn ^= 1) {
    // The last tile may compute outputs of the one before again.
    if (x + kTile > row.width) x = row.width - kTile;
    __m512i quads[kStemQuads];
    gather.load(row.rows, x * kStride * kStemChannels, quads);
#pragma GCC unroll 1
    for (size_t b = 0; b < kBlocks; ++b) {
      const StemPackedBlock& block = packed[b];
      __m512i acc[kStemBlock];
#pragma GCC unroll 8
      for (size_t c = 0; c < kStemBlock; ++c) acc[c] = _mm512_set1_epi32(block.start[c]);
#pragma GCC unroll 7
      for (size_t q = 0; q < kStemQuads; ++q) {
#pragma GCC unroll 8
        for (size_t c = 0; c < kStemBlock; ++c) dot(acc[c], quads[q], block.weights[q][c]);
      }
      if (b == 0 && out != nullptr) Pixels::store(bytes[turn ^ 1], out);
#pragma GCC unroll 2
      for (size_t v = 0; v < kBlockVectors; ++v) {
        _mm512_store_si512(bytes[turn][b * kBlockVectors + v].at,
                           epilogue.narrow(acc + 4 * v, block.mult + 4 * v));
      }
    }
    out = row.out + x * row.channels;
  }
  Pixels::store(bytes[turn ^ 1], out);
}

void run(const StemRow& row) {
  using RunFn = void (*)(const StemRow&);
  static constexpr RunFn kRun[2][kStemMaxBlocks] = {
      {run_blocks<1, 1>, run_blocks<1, 2>, run_blocks<1, 3>, run_blocks<1, 4>},
      {run_blocks<2, 1>, run_blocks<2, 2>, run_blocks<2, 3>, run_blocks<2, 4>}};
  kRun[row.stride - 1][row.channels / kStemBlock - 1](row);
}

}  // namespace

const StemKernel stem_x86_avx512vnni = {"stem_u8_u8_s8c_3x3c3_avx512vnni", kTile, run};

}  // namespace wbcq
