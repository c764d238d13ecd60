#include <immintrin.h>

#include "kernels/pool/pool.h"

namespace wbcq {
namespace {

constexpr size_t kLanes = 64;
// A u16 lane holds the sum of this many u8 values: 257 * 255 = 65535.
constexpr size_t kTapsPerFlush = 257;

// kVectors vectors, parts of one pixel or pixels, `apart` bytes from each other on their way in and
// `out_apart` on their way out. Taps run in the inner loop, so that the accumulators stay in
// registers and the vectors share each load of a row pointer. Masked bytes are neither read nor
// written.
template <size_t kVectors>
void max_block(const MaxPoolRow& args, size_t offset, size_t apart, __mmask64 mask, uint8_t* out,
               size_t out_apart) {
  __m512i best[kVectors];
  for (size_t v = 0; v < kVectors; ++v) best[v] = _mm512_setzero_si512();
  for (size_t tap = 0; tap < args.taps; ++tap) {
    const uint8_t* row = args.rows[tap] + offset;
    for (size_t v = 0; v < kVectors; ++v) {
      best[v] = _mm512_max_epu8(best[v], _mm512_maskz_loadu_epi8(mask, row + v * apart));
    }
  }
  for (size_t v = 0; v < kVectors; ++v) _mm512_mask_storeu_epi8(out + v * out_apart, mask, best[v]);
}

// One pixel of any number of channels.
void max_pixel(const MaxPoolRow& args, size_t offset, uint8_t* out) {
  constexpr __mmask64 kAll = ~__mmask64{0};
  size_t c = 0;
  for (; args.channels - c >= 4 * kLanes; c += 4 * kLanes) {
    max_block<4>(args, offset + c, kLanes, kAll, out + c, kLanes);
  }
  for (; args.channels - c >= kLanes; c += kLanes) {
    max_block<1>(args, offset + c, kLanes, kAll, out + c, kLanes);
  }
  if (c == args.channels) return;
  const __mmask64 rest = kAll >> (kLanes - (args.channels - c));
  max_block<1>(args, offset + c, kLanes, rest, out + c, kLanes);
}

void max_pool(const MaxPoolRow& args) {
  size_t p = 0;
  if (args.channels <= kLanes) {
    const __mmask64 mask = ~__mmask64{0} >> (kLanes - args.channels);
    for (; args.pixels - p >= 4; p += 4) {
      max_block<4>(args, p * args.in_stride, args.in_stride, mask, args.out + p * args.out_stride,
                   args.out_stride);
    }
  }
  for (; p < args.pixels; ++p) {
    max_pixel(args, p * args.in_stride, args.out + p * args.out_stride);
  }
}

__m512i requantize(__m512i sum, const AvgPoolPixel& pixel) {
  const __m512 lo = _mm512_set1_ps(static_cast<float>(pixel.lo - pixel.zero_point));
  const __m512 hi = _mm512_set1_ps(static_cast<float>(pixel.hi - pixel.zero_point));
  const __m512i shifted = _mm512_add_epi32(sum, _mm512_set1_epi32(pixel.start));
  __m512 value = _mm512_mul_ps(_mm512_cvtepi32_ps(shifted), _mm512_set1_ps(pixel.multiplier));
  value = _mm512_min_ps(_mm512_max_ps(value, lo), hi);
  return _mm512_add_epi32(_mm512_cvtps_epi32(value), _mm512_set1_epi32(pixel.zero_point));
}

// The sums of 64 channels in the order of their bytes in a 32-bit lane: sum[r] holds the channels
// r, r + 4, r + 8, ...
struct Sums {
  __m512i by_byte[4];
};

// Sums up to kTapsPerFlush taps without a widening: `all` accumulates whole u16 lanes, that is
// even + 256 * odd modulo 2^16, and `odd` the odd bytes; even is what is left. Shifts and adds run
// on more ports than the unpacks of a widening.
template <size_t kVectors>
void sum_taps(const AvgPoolPixel& pixel, size_t channel, __mmask64 last, size_t tap, size_t tap_end,
              Sums* sums) {
  __m512i all[kVectors];
  __m512i odd[kVectors];
  for (size_t v = 0; v < kVectors; ++v) all[v] = odd[v] = _mm512_setzero_si512();
  for (; tap < tap_end; ++tap) {
    const uint8_t* row = pixel.rows[tap] + channel;
    for (size_t v = 0; v < kVectors; ++v) {
      const __m512i bytes = v + 1 < kVectors ? _mm512_loadu_si512(row + v * kLanes)
                                             : _mm512_maskz_loadu_epi8(last, row + v * kLanes);
      all[v] = _mm512_add_epi16(all[v], bytes);
      odd[v] = _mm512_add_epi16(odd[v], _mm512_srli_epi16(bytes, 8));
    }
  }
  const __m512i low_half = _mm512_set1_epi32(0xFFFF);
  for (size_t v = 0; v < kVectors; ++v) {
    const __m512i even = _mm512_sub_epi16(all[v], _mm512_slli_epi16(odd[v], 8));
    __m512i* sum = sums[v].by_byte;
    sum[0] = _mm512_add_epi32(sum[0], _mm512_and_si512(even, low_half));
    sum[1] = _mm512_add_epi32(sum[1], _mm512_and_si512(odd[v], low_half));
    sum[2] = _mm512_add_epi32(sum[2], _mm512_srli_epi32(even, 16));
    sum[3] = _mm512_add_epi32(sum[3], _mm512_srli_epi32(odd[v], 16));
  }
}

template <size_t kVectors>
void avg_block(const AvgPoolPixel& pixel, size_t channel, __mmask64 last) {
  Sums sums[kVectors];
  for (size_t v = 0; v < kVectors; ++v) {
    for (size_t r = 0; r < 4; ++r) sums[v].by_byte[r] = _mm512_setzero_si512();
  }
  for (size_t tap = 0; tap < pixel.taps; tap += kTapsPerFlush) {
    const size_t left = pixel.taps - tap;
    const size_t tap_end = tap + (left < kTapsPerFlush ? left : kTapsPerFlush);
    sum_taps<kVectors>(pixel, channel, last, tap, tap_end, sums);
  }
  for (size_t v = 0; v < kVectors; ++v) {
    const __m512i* sum = sums[v].by_byte;
    __m512i bytes = requantize(sum[0], pixel);
    bytes = _mm512_or_si512(bytes, _mm512_slli_epi32(requantize(sum[1], pixel), 8));
    bytes = _mm512_or_si512(bytes, _mm512_slli_epi32(requantize(sum[2], pixel), 16));
    bytes = _mm512_or_si512(bytes, _mm512_slli_epi32(requantize(sum[3], pixel), 24));
    const __mmask64 mask = v + 1 < kVectors ? ~__mmask64{0} : last;
    _mm512_mask_storeu_epi8(pixel.out + channel + v * kLanes, mask, bytes);
  }
}

// Channels run in the outer loop and taps in the inner one, as above; only the last vector is
// masked.
void avg_pool(const AvgPoolPixel& pixel) {
  size_t channel = 0;
  size_t left = pixel.channels;
  for (; left > 4 * kLanes; channel += 4 * kLanes, left -= 4 * kLanes) {
    avg_block<4>(pixel, channel, ~__mmask64{0});
  }
  // 1 to 4 vectors are left, and 1 to 64 bytes of the last one.
  const size_t vectors = (left - 1) / kLanes + 1;
  const __mmask64 last = ~__mmask64{0} >> (vectors * kLanes - left);
  switch (vectors) {
    case 1:
      avg_block<1>(pixel, channel, last);
      break;
    case 2:
      avg_block<2>(pixel, channel, last);
      break;
    case 3:
      avg_block<3>(pixel, channel, last);
      break;
    default:
      avg_block<4>(pixel, channel, last);
  }
}

}  // namespace

extern const PoolKernels pool_x86_avx512vnni = {"pool_x86_avx512vnni", max_pool, avg_pool};

}  // namespace wbcq
