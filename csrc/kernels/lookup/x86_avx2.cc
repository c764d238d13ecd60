#include <immintrin.h>

#include "kernels/lookup/lookup.h"

namespace wbcq {
namespace {

constexpr size_t kLanes = 32;

// VPSHUFB looks up 16 entries and gives 0 for an index whose highest bit is set. With index - 16 r,
// row r of the table answers for the indices of the rows r to r + 7, and no other; the rows that
// answer are XORed. So row[r] = table[r] ^ table[r - 1] ^ row[r - 8]: the XOR of the last eight, or
// of all from the first, is the entry of the table. From row 9 on the subtraction saturates, lest
// an index below 128 wrap round and be answered again.
struct Table {
  explicit Table(const uint8_t* table) {
    for (size_t r = 0; r < 16; ++r) {
      row[r] = entries(table, r);
      if (r >= 1) row[r] = _mm256_xor_si256(row[r], entries(table, r - 1));
      if (r >= 8) row[r] = _mm256_xor_si256(row[r], row[r - 8]);
    }
  }
  __m256i operator()(__m256i index) const {
    const __m256i rows_apart = _mm256_set1_epi8(16);
    __m256i bytes = _mm256_shuffle_epi8(row[0], index);
    for (size_t r = 1; r < 16; ++r) {
      index = r <= 8 ? _mm256_sub_epi8(index, rows_apart) : _mm256_subs_epi8(index, rows_apart);
      bytes = _mm256_xor_si256(bytes, _mm256_shuffle_epi8(row[r], index));
    }
    return bytes;
  }
  static __m256i entries(const uint8_t* table, size_t r) {
    return _mm256_broadcastsi128_si256(
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(table + r * 16)));
  }
  __m256i row[16];
};

void run_pixel(const uint8_t* in, uint8_t* out, size_t size, const Table& rows,
               const uint8_t* table) {
  size_t i = 0;
  for (; size - i >= kLanes; i += kLanes) {
    const __m256i index = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in + i));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), rows(index));
  }
  for (; i < size; ++i) out[i] = table[in[i]];
}

void lookup_u8(const LookupU8& args) {
  const Table rows(args.table);
  if (args.in_stride == args.channels && args.out_stride == args.channels) {
    run_pixel(args.in, args.out, args.pixels * args.channels, rows, args.table);
    return;
  }
  for (size_t p = 0; p < args.pixels; ++p) {
    run_pixel(args.in + p * args.in_stride, args.out + p * args.out_stride, args.channels, rows,
              args.table);
  }
}

}  // namespace

extern const LookupKernels lookup_x86_avx2 = {"lookup_x86_avx2", lookup_u8};

}  // namespace wbcq
