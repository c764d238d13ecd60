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

void lookup_u8(const LookupU8& args) {
  const Table table(args.table);
  if (args.in_stride == args.channels && args.out_stride == args.channels) {
    run_pixel(args.in, args.out, args.pixels * args.channels, table);
    return;
  }
  for (size_t p = 0; p < args.pixels; ++p) {
    run_pixel(args.in + p * args.in_stride, args.out + p * args.out_stride, args.channels, table);
  }
}

}  // namespace

extern const LookupKernels lookup_x86_avx512vnni = {"lookup_x86_avx512vnni", lookup_u8};

}  // namespace wbcq
