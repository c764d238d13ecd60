#include <immintrin.h>

#include "kernels/lookup/lookup.h"

namespace wbcq {
namespace {

constexpr size_t kLanes = 64;

struct Table {
  explicit Table(const uint8_t* table) {
    for (size_t i = 0; i < 4; ++i) part[i] = _mm512_loadu_si512(table + i * kLanes);
  }
  // VPERMI2B reads the low 7 bits of an index; the highest one chooses between two of them.
  __m512i operator()(__m512i index) const {
    const __m512i low = _mm512_permutex2var_epi8(part[0], index, part[1]);
    const __m512i high = _mm512_permutex2var_epi8(part[2], index, part[3]);
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), low, high);
  }
  __m512i part[4];
};

void run_pixel(const uint8_t* in, uint8_t* out, size_t size, const Table& table) {
  size_t i = 0;
  for (; size - i >= kLanes; i += kLanes) {
    _mm512_storeu_si512(out + i, table(_mm512_loadu_si512(in + i)));
  }
  if (i < size) {
    const __mmask64 mask = ~__mmask64{0} >> (kLanes - (size - i));
    _mm512_mask_storeu_epi8(out + i, mask, table(_mm512_maskz_loadu_epi8(mask, in + i)));
  }
}

// Pixels of at most 32 channels two at a time: tiles of convolutions come in 16 and 32 channels.
size_t run_pairs(const LookupU8& args, const Table& table) {
  const __mmask32 mask = ~__mmask32{0} >> (32 - args.channels);
  size_t p = 0;
  for (; args.pixels - p >= 2; p += 2) {
    const uint8_t* in = args.in + p * args.in_stride;
    uint8_t* out = args.out + p * args.out_stride;
    const __m256i first = _mm256_maskz_loadu_epi8(mask, in);
    const __m256i second = _mm256_maskz_loadu_epi8(mask, in + args.in_stride);
    const __m512i bytes = table(_mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1));
    _mm256_mask_storeu_epi8(out, mask, _mm512_castsi512_si256(bytes));
    _mm256_mask_storeu_epi8(out + args.out_stride, mask, _mm512_extracti64x4_epi64(bytes, 1));
  }
  return p;
}

void lookup_u8(const LookupU8& args) {
  if (args.channels == 0) return;
  const Table table(args.table);
  if (args.in_stride == args.channels && args.out_stride == args.channels) {
    run_pixel(args.in, args.out, args.pixels * args.channels, table);
    return;
  }
  size_t p = args.channels <= 32 ? run_pairs(args, table) : 0;
  for (; p < args.pixels; ++p) {
    run_pixel(args.in + p * args.in_stride, args.out + p * args.out_stride, args.channels, table);
  }
}

}  // namespace

extern const LookupKernels lookup_x86_avx512vnni = {"lookup_x86_avx512vnni", lookup_u8};

}  // namespace wbcq
