#include <immintrin.h>

#include "kernels/pool/pool.h"

namespace wbcq {
namespace {

constexpr size_t kLanes = 32;
// A u16 lane holds the sum of this many u8 values: 257 * 255 = 65535.
constexpr size_t kTapsPerFlush = 257;

// n in [1, 8] bytes, no other byte touched. Pieces may overlap: they agree on the common bytes.
uint64_t load_up_to_8(const uint8_t* p, size_t n) {
  if (n >= 4) {
    uint32_t first;
    uint32_t last;
    __builtin_memcpy(&first, p, 4);
    __builtin_memcpy(&last, p + n - 4, 4);
    return first | static_cast<uint64_t>(last) << (8 * (n - 4));
  }
  return p[0] | static_cast<uint64_t>(p[n / 2]) << (8 * (n / 2)) |
         static_cast<uint64_t>(p[n - 1]) << (8 * (n - 1));
}

void store_up_to_8(uint8_t* p, uint64_t bytes, size_t n) {
  if (n >= 4) {
    const uint32_t first = static_cast<uint32_t>(bytes);
    const uint32_t last = static_cast<uint32_t>(bytes >> (8 * (n - 4)));
    __builtin_memcpy(p, &first, 4);
    __builtin_memcpy(p + n - 4, &last, 4);
    return;
  }
  p[0] = static_cast<uint8_t>(bytes);
  p[n / 2] = static_cast<uint8_t>(bytes >> (8 * (n / 2)));
  p[n - 1] = static_cast<uint8_t>(bytes >> (8 * (n - 1)));
}

// How a block of channels is read and written. Fewer than 16 channels are the only case that a
// vector cannot cover by stepping back and doing some channels twice.
struct Full {
  static __m256i load(const uint8_t* p, size_t) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static void store(uint8_t* p, __m256i bytes, size_t) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), bytes);
  }
};

struct Half {
  static __m256i load(const uint8_t* p, size_t) {
    return _mm256_zextsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static void store(uint8_t* p, __m256i bytes, size_t) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(bytes));
  }
};

struct Partial {
  static __m256i load(const uint8_t* p, size_t n) {
    const uint64_t low = load_up_to_8(p, n < 8 ? n : 8);
    const uint64_t high = n > 8 ? load_up_to_8(p + 8, n - 8) : 0;
    return _mm256_set_epi64x(0, 0, static_cast<long long>(high), static_cast<long long>(low));
  }
  static void store(uint8_t* p, __m256i bytes, size_t n) {
    store_up_to_8(p, static_cast<uint64_t>(_mm256_extract_epi64(bytes, 0)), n < 8 ? n : 8);
    if (n > 8) store_up_to_8(p + 8, static_cast<uint64_t>(_mm256_extract_epi64(bytes, 1)), n - 8);
  }
};

// Channels run in the outer loop and taps in the innermost one, so that the accumulators stay in
// registers; the vectors of a block share each load of a row pointer.
template <typename Access, size_t kVectors>
void max_block(const MaxPoolRow& args, size_t channel) {
  for (size_t p = 0; p < args.pixels; ++p) {
    __m256i best[kVectors];
    for (size_t v = 0; v < kVectors; ++v) best[v] = _mm256_setzero_si256();
    for (size_t tap = 0; tap < args.taps; ++tap) {
      const uint8_t* row = args.rows[tap] + p * args.in_stride + channel;
      for (size_t v = 0; v < kVectors; ++v) {
        best[v] = _mm256_max_epu8(best[v], Access::load(row + v * kLanes, args.channels));
      }
    }
    uint8_t* out = args.out + p * args.out_stride + channel;
    for (size_t v = 0; v < kVectors; ++v) Access::store(out + v * kLanes, best[v], args.channels);
  }
}

__m256i requantize(__m256i sum, const AvgPoolPixel& pixel) {
  const __m256 lo = _mm256_set1_ps(static_cast<float>(pixel.lo - pixel.zero_point));
  const __m256 hi = _mm256_set1_ps(static_cast<float>(pixel.hi - pixel.zero_point));
  const __m256i shifted = _mm256_add_epi32(sum, _mm256_set1_epi32(pixel.start));
  __m256 value = _mm256_mul_ps(_mm256_cvtepi32_ps(shifted), _mm256_set1_ps(pixel.multiplier));
  value = _mm256_min_ps(_mm256_max_ps(value, lo), hi);
  return _mm256_add_epi32(_mm256_cvtps_epi32(value), _mm256_set1_epi32(pixel.zero_point));
}

// The sums of 32 channels in the order of their bytes in a 32-bit lane: by_byte[r] holds the
// channels r, r + 4, r + 8, ...
struct Sums {
  __m256i by_byte[4];
};

// Sums up to kTapsPerFlush taps without a widening: `all` accumulates whole u16 lanes, that is
// even + 256 * odd modulo 2^16, and `odd` the odd bytes; even is what is left. Shifts and adds run
// on more ports than the unpacks of a widening.
template <typename Access, size_t kVectors>
void sum_taps(const AvgPoolPixel& pixel, size_t channel, size_t tap, size_t tap_end, Sums* sums) {
  __m256i all[kVectors];
  __m256i odd[kVectors];
  for (size_t v = 0; v < kVectors; ++v) all[v] = odd[v] = _mm256_setzero_si256();
  for (; tap < tap_end; ++tap) {
    const uint8_t* row = pixel.rows[tap] + channel;
    for (size_t v = 0; v < kVectors; ++v) {
      const __m256i bytes = Access::load(row + v * kLanes, pixel.channels);
      all[v] = _mm256_add_epi16(all[v], bytes);
      odd[v] = _mm256_add_epi16(odd[v], _mm256_srli_epi16(bytes, 8));
    }
  }
  const __m256i low_half = _mm256_set1_epi32(0xFFFF);
  for (size_t v = 0; v < kVectors; ++v) {
    const __m256i even = _mm256_sub_epi16(all[v], _mm256_slli_epi16(odd[v], 8));
    __m256i* sum = sums[v].by_byte;
    sum[0] = _mm256_add_epi32(sum[0], _mm256_and_si256(even, low_half));
    sum[1] = _mm256_add_epi32(sum[1], _mm256_and_si256(odd[v], low_half));
    sum[2] = _mm256_add_epi32(sum[2], _mm256_srli_epi32(even, 16));
    sum[3] = _mm256_add_epi32(sum[3], _mm256_srli_epi32(odd[v], 16));
  }
}

template <typename Access, size_t kVectors>
void avg_block(const AvgPoolPixel& pixel, size_t channel) {
  Sums sums[kVectors];
  for (size_t v = 0; v < kVectors; ++v) {
    for (size_t r = 0; r < 4; ++r) sums[v].by_byte[r] = _mm256_setzero_si256();
  }
  for (size_t tap = 0; tap < pixel.taps; tap += kTapsPerFlush) {
    const size_t left = pixel.taps - tap;
    const size_t tap_end = tap + (left < kTapsPerFlush ? left : kTapsPerFlush);
    sum_taps<Access, kVectors>(pixel, channel, tap, tap_end, sums);
  }
  for (size_t v = 0; v < kVectors; ++v) {
    const __m256i* sum = sums[v].by_byte;
    __m256i bytes = requantize(sum[0], pixel);
    bytes = _mm256_or_si256(bytes, _mm256_slli_epi32(requantize(sum[1], pixel), 8));
    bytes = _mm256_or_si256(bytes, _mm256_slli_epi32(requantize(sum[2], pixel), 16));
    bytes = _mm256_or_si256(bytes, _mm256_slli_epi32(requantize(sum[3], pixel), 24));
    Access::store(pixel.out + channel + v * kLanes, bytes, pixel.channels);
  }
}

struct MaxPool {
  template <typename Access, size_t kVectors>
  static void run(const MaxPoolRow& row, size_t channel) {
    max_block<Access, kVectors>(row, channel);
  }
};

struct AvgPool {
  template <typename Access, size_t kVectors>
  static void run(const AvgPoolPixel& pixel, size_t channel) {
    avg_block<Access, kVectors>(pixel, channel);
  }
};

template <typename Op, typename Args>
void for_each_block(const Args& args) {
  const size_t channels = args.channels;
  if (channels < 16) {
    Op::template run<Partial, 1>(args, 0);
    return;
  }
  if (channels < kLanes) {
    Op::template run<Half, 1>(args, 0);
    if (channels > 16) Op::template run<Half, 1>(args, channels - 16);
    return;
  }
  size_t channel = 0;
  for (; channels - channel >= 4 * kLanes; channel += 4 * kLanes) {
    Op::template run<Full, 4>(args, channel);
  }
  for (; channels - channel >= kLanes; channel += kLanes) Op::template run<Full, 1>(args, channel);
  if (channel < channels) Op::template run<Full, 1>(args, channels - kLanes);
}

void max_pool(const MaxPoolRow& row) { for_each_block<MaxPool>(row); }

void avg_pool(const AvgPoolPixel& pixel) { for_each_block<AvgPool>(pixel); }

}  // namespace

extern const PoolKernels pool_x86_avx2 = {"pool_x86_avx2", max_pool, avg_pool};

}  // namespace wbcq
