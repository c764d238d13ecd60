// Whole tiles in assembly: 28 accumulators, two vectors of weights and one of activations leave
// nothing to a compiler. GCC 12 moves accumulators about between steps and keeps row pointers in
// vector registers, which costs short sums half of their time; here every register has one place.
//
//   zmm0..27   accumulators, row by row         r8..r15  pointers of rows 0 to 7
//   zmm28, 29  weights of a step                rcx      the pointer of each further row, in turn
//   zmm30, 31  activations                      rax      offset into the rows
//   rdi        Frame                            rdx      weights
//   rsi        row pointers of the segment      rbx      what is prefetched
#ifndef WBCQ_KERNELS_GEMM_X86_AVX512VNNI_TILE_H_
#define WBCQ_KERNELS_GEMM_X86_AVX512VNNI_TILE_H_

#include <cstddef>
#include <cstdint>

namespace wbcq {
namespace {

enum class TileOutput : uint64_t { kU8, kU8Residual, kSums };

// What the assembly reads of a GemmTile, at offsets that it knows.
struct Frame {
  alignas(64) int16_t zero_point[32];
  uint8_t hi[64];
  uint8_t lo[64];
  // Packs leave dword q of vector p at 4 * q + p, which the transposition of a 4x4 matrix of dwords
  // puts right.
  int32_t order[16];
  const uint8_t* const* lhs;
  const void* panel;
  const uint32_t* steps;
  size_t segments;
  size_t channel_offset;
  const void* prefetch;
  void* out;
  size_t out_stride;
  const uint8_t* residual;
  size_t residual_stride;
  int32_t* sums;  // of kSums: [rows][vectors][16], 64-byte aligned
  TileOutput output;
  float residual_multiplier;
  int32_t residual_zero_point;
  uint32_t out_mask;       // of a row's columns
  uint32_t residual_mask;  // of the columns of its last vector
  // Owned by the assembly.
  size_t segments_left;
  const uint32_t* next_steps;
  size_t end;
};

// The operands of every block of assembly below.
#define WBCQ_TILE_OPERANDS(height, width)                                                         \
  [rows] "i"(height), [accs] "i"((height) * (width)), [rows_bytes] "i"((height)*8),               \
      [zero_point] "i"(offsetof(Frame, zero_point)), [hi] "i"(offsetof(Frame, hi)),               \
      [lo] "i"(offsetof(Frame, lo)), [order] "i"(offsetof(Frame, order)),                         \
      [lhs] "i"(offsetof(Frame, lhs)), [panel] "i"(offsetof(Frame, panel)),                       \
      [steps] "i"(offsetof(Frame, steps)), [segments] "i"(offsetof(Frame, segments)),             \
      [channel] "i"(offsetof(Frame, channel_offset)), [prefetch] "i"(offsetof(Frame, prefetch)),  \
      [out] "i"(offsetof(Frame, out)), [out_stride] "i"(offsetof(Frame, out_stride)),             \
      [residual] "i"(offsetof(Frame, residual)),                                                  \
      [residual_stride] "i"(offsetof(Frame, residual_stride)), [sums] "i"(offsetof(Frame, sums)), \
      [output] "i"(offsetof(Frame, output)),                                                      \
      [residual_mult] "i"(offsetof(Frame, residual_multiplier)),                                  \
      [residual_zero] "i"(offsetof(Frame, residual_zero_point)),                                  \
      [out_mask] "i"(offsetof(Frame, out_mask)),                                                  \
      [residual_mask] "i"(offsetof(Frame, residual_mask)),                                        \
      [left] "i"(offsetof(Frame, segments_left)), [next] "i"(offsetof(Frame, next_steps)),        \
      [end] "i"(offsetof(Frame, end))

#define WBCQ_TILE_CLOBBERS                                                                      \
  "memory", "cc", "rax", "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "r12", "r13",    \
      "r14", "r15", "k1", "k2", "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", \
      "zmm8", "zmm9", "zmm10", "zmm11", "zmm12", "zmm13", "zmm14", "zmm15", "zmm16", "zmm17",   \
      "zmm18", "zmm19", "zmm20", "zmm21", "zmm22", "zmm23", "zmm24", "zmm25", "zmm26", "zmm27", \
      "zmm28", "zmm29", "zmm30", "zmm31"

// clang-format off

// Text for those rows or accumulators that the tile has.
#define WBCQ_IF_ROW(i, text) ".if " #i " < %c[rows]\n" text ".endif\n"
#define WBCQ_IF_ACC(j, text) ".if " #j " < %c[accs]\n" text ".endif\n"

// ---- Tiles of two vectors: row i has accumulators 2 i and 2 i + 1.

#define WBCQ_WIDE_ROWS(M)                                          \
  M(0, 0, 1) M(1, 2, 3) M(2, 4, 5) M(3, 6, 7) M(4, 8, 9)           \
  M(5, 10, 11) M(6, 12, 13) M(7, 14, 15) M(8, 16, 17) M(9, 18, 19) \
  M(10, 20, 21) M(11, 22, 23) M(12, 24, 25) M(13, 26, 27)

// Copies of registers are free, loads are not.
#define WBCQ_WIDE_START(i, a, b)                    \
  WBCQ_IF_ROW(i, "vmovdqa64 %%zmm28, %%zmm" #a "\n" \
                 "vmovdqa64 %%zmm29, %%zmm" #b "\n")

#define WBCQ_POINTER(i, r) WBCQ_IF_ROW(i, "mov 8*" #i "(%%rsi), %%" r "\n")
#define WBCQ_POINTERS                                                                       \
  WBCQ_POINTER(0, "r8") WBCQ_POINTER(1, "r9") WBCQ_POINTER(2, "r10") WBCQ_POINTER(3, "r11") \
  WBCQ_POINTER(4, "r12") WBCQ_POINTER(5, "r13") WBCQ_POINTER(6, "r14") WBCQ_POINTER(7, "r15")

#define WBCQ_WIDE_DOT(i, r, x, a, b)                            \
  WBCQ_IF_ROW(i, "vpbroadcastd (%%" r ", %%rax), %%zmm" #x "\n" \
                 "vpdpbusd %%zmm28, %%zmm" #x ", %%zmm" #a "\n" \
                 "vpdpbusd %%zmm29, %%zmm" #x ", %%zmm" #b "\n")
#define WBCQ_WIDE_DOT_FAR(i, x, a, b) WBCQ_POINTER(i, "rcx") WBCQ_WIDE_DOT(i, "rcx", x, a, b)

#define WBCQ_WIDE_STEP                                                    \
  "vmovdqa64 (%%rdx), %%zmm28\n"                                          \
  "vmovdqa64 64(%%rdx), %%zmm29\n"                                        \
  WBCQ_WIDE_DOT(0, "r8", 30, 0, 1) WBCQ_WIDE_DOT(1, "r9", 31, 2, 3)       \
  WBCQ_WIDE_DOT(2, "r10", 30, 4, 5) WBCQ_WIDE_DOT(3, "r11", 31, 6, 7)     \
  WBCQ_WIDE_DOT(4, "r12", 30, 8, 9) WBCQ_WIDE_DOT(5, "r13", 31, 10, 11)   \
  WBCQ_WIDE_DOT(6, "r14", 30, 12, 13) WBCQ_WIDE_DOT(7, "r15", 31, 14, 15) \
  WBCQ_WIDE_DOT_FAR(8, 30, 16, 17) WBCQ_WIDE_DOT_FAR(9, 31, 18, 19)       \
  WBCQ_WIDE_DOT_FAR(10, 30, 20, 21) WBCQ_WIDE_DOT_FAR(11, 31, 22, 23)     \
  WBCQ_WIDE_DOT_FAR(12, 30, 24, 25) WBCQ_WIDE_DOT_FAR(13, 31, 26, 27)     \
  "prefetcht1 (%%rbx)\n"                                                  \
  "add $64, %%rbx\n"                                                      \
  "sub $-128, %%rdx\n"                                                    \
  "add $4, %%rax\n"

// Both kinds of tile walk their segments alike.
#define WBCQ_FIRST_SEGMENT           \
  "mov %c[lhs](%%rdi), %%rsi\n"      \
  "mov %c[prefetch](%%rdi), %%rbx\n" \
  "add $384, %%rdx\n"                \
  "mov %c[segments](%%rdi), %%rax\n" \
  "mov %%rax, %c[left](%%rdi)\n"     \
  "mov %c[steps](%%rdi), %%rax\n"    \
  "mov %%rax, %c[next](%%rdi)\n"
#define WBCQ_OPEN_SEGMENT        \
  "mov %c[next](%%rdi), %%rcx\n" \
  "addq $4, %c[next](%%rdi)\n"   \
  "mov (%%rcx), %%ecx\n"         \
  "mov %c[channel](%%rdi), %%rax\n"
#define WBCQ_CLOSE_SEGMENT       \
  "add $%c[rows_bytes], %%rsi\n" \
  "decq %c[left](%%rdi)\n"

#define WBCQ_WIDE_SUMS             \
  "mov %c[panel](%%rdi), %%rdx\n"  \
  "vmovdqa64 (%%rdx), %%zmm28\n"   \
  "vmovdqa64 64(%%rdx), %%zmm29\n" \
  WBCQ_WIDE_ROWS(WBCQ_WIDE_START)  \
  WBCQ_FIRST_SEGMENT               \
  "1:\n"                           \
  WBCQ_OPEN_SEGMENT                \
  "lea (%%rax, %%rcx, 4), %%rcx\n" \
  "mov %%rcx, %c[end](%%rdi)\n"    \
  WBCQ_POINTERS                    \
  "2:\n"                           \
  WBCQ_WIDE_STEP                   \
  "cmp %c[end](%%rdi), %%rax\n"    \
  "jb 2b\n"                        \
  WBCQ_CLOSE_SEGMENT               \
  "jnz 1b\n"                       \
  "mov %%rbx, %c[prefetch](%%rdi)\n"

// Rounding is to nearest even, the mode of every thread. Nothing leaves int32 (GemmTile::wide), so
// packs saturate what they should. `mult`: the register that holds the multipliers.
#define WBCQ_CONVERT(j, mult)                                        \
  WBCQ_IF_ACC(j, "vcvtdq2ps %%zmm" #j ", %%zmm" #j "\n"              \
                 "vmulps %%zmm" #mult ", %%zmm" #j ", %%zmm" #j "\n" \
                 "vcvtps2dq %%zmm" #j ", %%zmm" #j "\n")
#define WBCQ_CONVERT_ADD(j, mult, shortcut)                                     \
  WBCQ_IF_ACC(j, "vpmovzxbd " shortcut "\n"                                     \
                 "vcvtdq2ps %%zmm" #j ", %%zmm" #j "\n"                         \
                 "vpsubd %c[residual_zero](%%rdi)%{1to16%}, %%zmm31, %%zmm31\n" \
                 "vmulps %%zmm" #mult ", %%zmm" #j ", %%zmm" #j "\n"            \
                 "vcvtdq2ps %%zmm31, %%zmm31\n"                                 \
                 "vmulps %c[residual_mult](%%rdi)%{1to16%}, %%zmm31, %%zmm31\n" \
                 "vaddps %%zmm31, %%zmm" #j ", %%zmm" #j "\n"                   \
                 "vcvtps2dq %%zmm" #j ", %%zmm" #j "\n")

// The first group that is packed leaves three registers for the constants of all.
#define WBCQ_OPEN_OUTPUT               \
  "mov %c[panel](%%rdi), %%rdx\n"      \
  "mov %c[out](%%rdi), %%rsi\n"        \
  "mov %c[out_stride](%%rdi), %%rax\n" \
  "kmovd %c[out_mask](%%rdi), %%k1\n"  \
  "vmovdqa64 128(%%rdx), %%zmm28\n"    \
  "vmovdqa64 192(%%rdx), %%zmm29\n"    \
  "vmovdqa64 %c[zero_point](%%rdi), %%zmm30\n"

#define WBCQ_PACK(i, a, b, c, d)                      \
  "vpackssdw %%zmm" #b ", %%zmm" #a ", %%zmm" #a "\n" \
  "vpackssdw %%zmm" #d ", %%zmm" #c ", %%zmm" #c "\n" \
  "vpaddsw %%zmm30, %%zmm" #a ", %%zmm" #a "\n"       \
  "vpaddsw %%zmm30, %%zmm" #c ", %%zmm" #c "\n"       \
  "vpackuswb %%zmm" #c ", %%zmm" #a ", %%zmm" #a "\n" \
  ".if " #i " == 0\n"                                 \
  "vmovdqa64 %c[hi](%%rdi), %%zmm1\n"                 \
  "vmovdqa64 %c[lo](%%rdi), %%zmm2\n"                 \
  "vmovdqa64 %c[order](%%rdi), %%zmm3\n"              \
  ".endif\n"                                          \
  "vpminub %%zmm1, %%zmm" #a ", %%zmm" #a "\n"        \
  "vpmaxub %%zmm2, %%zmm" #a ", %%zmm" #a "\n"        \
  "vpermd %%zmm" #a ", %%zmm3, %%zmm" #a "\n"

#define WBCQ_WIDE_STORE(i, second, a, b, c, d)                      \
  WBCQ_PACK(i, a, b, c, d)                                          \
  "vmovdqu8 %%ymm" #a ", (%%rsi)%{%%k1%}\n"                         \
  WBCQ_IF_ROW(second, "vextracti64x4 $1, %%zmm" #a ", %%ymm31\n"    \
                      "vmovdqu8 %%ymm31, (%%rsi, %%rax)%{%%k1%}\n") \
  "lea (%%rsi, %%rax, 2), %%rsi\n"

#define WBCQ_WIDE_GROUP(i, second, a, b, c, d)                                                   \
  WBCQ_IF_ROW(i, WBCQ_CONVERT(a, 28) WBCQ_CONVERT(b, 29) WBCQ_CONVERT(c, 28) WBCQ_CONVERT(d, 29) \
                     WBCQ_WIDE_STORE(i, second, a, b, c, d))
#define WBCQ_WIDE_GROUP_ADD(i, second, a, b, c, d)                                 \
  WBCQ_IF_ROW(i, WBCQ_CONVERT_ADD(a, 28, "(%%rcx), %%zmm31")                       \
                 WBCQ_CONVERT_ADD(b, 29, "16(%%rcx), %%zmm31%{%%k2%}%{z%}")        \
                 WBCQ_CONVERT_ADD(c, 28, "(%%rcx, %%rbx), %%zmm31")                \
                 WBCQ_CONVERT_ADD(d, 29, "16(%%rcx, %%rbx), %%zmm31%{%%k2%}%{z%}") \
                 "lea (%%rcx, %%rbx, 2), %%rcx\n"                                  \
                 WBCQ_WIDE_STORE(i, second, a, b, c, d))

#define WBCQ_WIDE_GROUPS(M) \
  M(0, 1, 0, 1, 2, 3)       \
  M(2, 3, 4, 5, 6, 7)       \
  M(4, 5, 8, 9, 10, 11)     \
  M(6, 7, 12, 13, 14, 15)   \
  M(8, 9, 16, 17, 18, 19) M(10, 11, 20, 21, 22, 23) M(12, 13, 24, 25, 26, 27)

#define WBCQ_SAVE(j, offset) WBCQ_IF_ACC(j, "vmovdqa64 %%zmm" #j ", " #offset "(%%rsi)\n")
#define WBCQ_WIDE_SAVE(i, a, b) WBCQ_SAVE(a, a * 64) WBCQ_SAVE(b, b * 64)

template <size_t kRows>
inline void wide_tile(Frame* frame) {
  __asm__ volatile(
      WBCQ_WIDE_SUMS
      "cmpq $1, %c[output](%%rdi)\n"
      "je 3f\n"
      "ja 4f\n"
      WBCQ_OPEN_OUTPUT
      WBCQ_WIDE_GROUPS(WBCQ_WIDE_GROUP)
      "jmp 5f\n"
      "3:\n"
      WBCQ_OPEN_OUTPUT
      "mov %c[residual](%%rdi), %%rcx\n"
      "mov %c[residual_stride](%%rdi), %%rbx\n"
      "kmovd %c[residual_mask](%%rdi), %%k2\n"
      WBCQ_WIDE_GROUPS(WBCQ_WIDE_GROUP_ADD)
      "jmp 5f\n"
      "4:\n"
      "mov %c[sums](%%rdi), %%rsi\n"
      WBCQ_WIDE_ROWS(WBCQ_WIDE_SAVE)
      "5:\n"
      : : "D"(frame), WBCQ_TILE_OPERANDS(kRows, 2) : WBCQ_TILE_CLOBBERS);
}

// ---- Tiles of one vector: row i has accumulator i. Four steps at a time, row by row: a row's
// pointer is loaded once for four dot products, and the short segments of grouped convolutions
// (four steps for 16 channels) cost no more than their products.

#define WBCQ_NARROW_ROWS(M) \
  M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11) M(12) M(13)
#define WBCQ_NARROW_START(i) WBCQ_IF_ROW(i, "vmovdqa64 %%zmm28, %%zmm" #i "\n")

// Sixteen activations of a row take one load, and a shuffle for each of their quads: two loads a
// cycle cannot bring one quad for each of two dot products.
#define WBCQ_NARROW_DOT(i, row, order, quad, w)                         \
  WBCQ_IF_ROW(i, "vpshufd $" #order ", %%zmm" #row ", %%zmm" #quad "\n" \
                 "vpdpbusd %%zmm" #w ", %%zmm" #quad ", %%zmm" #i "\n")
#define WBCQ_NARROW_LOAD(i, r, row) \
  WBCQ_POINTER(i, r) WBCQ_IF_ROW(i, "vbroadcasti32x4 (%%" r ", %%rax), %%zmm" #row "\n")
// Two rows in turn, so that a sum does not wait for itself.
#define WBCQ_NARROW_PAIR(i, j)                                              \
  WBCQ_NARROW_LOAD(i, "r8", 16) WBCQ_NARROW_LOAD(j, "r9", 17)               \
  WBCQ_NARROW_DOT(i, 16, 0x00, 18, 28) WBCQ_NARROW_DOT(j, 17, 0x00, 19, 28) \
  WBCQ_NARROW_DOT(i, 16, 0x55, 20, 29) WBCQ_NARROW_DOT(j, 17, 0x55, 21, 29) \
  WBCQ_NARROW_DOT(i, 16, 0xAA, 22, 30) WBCQ_NARROW_DOT(j, 17, 0xAA, 23, 30) \
  WBCQ_NARROW_DOT(i, 16, 0xFF, 24, 31) WBCQ_NARROW_DOT(j, 17, 0xFF, 25, 31)
#define WBCQ_NARROW_SINGLE(i)                            \
  WBCQ_POINTER(i, "r8")                                  \
  WBCQ_IF_ROW(i, "vpbroadcastd (%%r8, %%rax), %%zmm16\n" \
                 "vpdpbusd %%zmm28, %%zmm16, %%zmm" #i "\n")

#define WBCQ_NARROW_SUMS                                                 \
  "mov %c[panel](%%rdi), %%rdx\n"                                        \
  "vmovdqa64 (%%rdx), %%zmm28\n"                                         \
  WBCQ_NARROW_ROWS(WBCQ_NARROW_START)                                    \
  WBCQ_FIRST_SEGMENT                                                     \
  "1:\n"                                                                 \
  WBCQ_OPEN_SEGMENT                                                      \
  "sub $4, %%ecx\n"                                                      \
  "jb 7f\n"                                                              \
  "2:\n"                                                                 \
  "vmovdqa64 (%%rdx), %%zmm28\n"                                         \
  "vmovdqa64 128(%%rdx), %%zmm29\n"                                      \
  "vmovdqa64 256(%%rdx), %%zmm30\n"                                      \
  "vmovdqa64 384(%%rdx), %%zmm31\n"                                      \
  WBCQ_NARROW_PAIR(0, 1) WBCQ_NARROW_PAIR(2, 3) WBCQ_NARROW_PAIR(4, 5)   \
  WBCQ_NARROW_PAIR(6, 7) WBCQ_NARROW_PAIR(8, 9) WBCQ_NARROW_PAIR(10, 11) \
  WBCQ_NARROW_PAIR(12, 13)                                               \
  "add $512, %%rdx\n"                                                    \
  "add $16, %%rax\n"                                                     \
  "sub $4, %%ecx\n"                                                      \
  "jae 2b\n"                                                             \
  "7:\n"                                                                 \
  "add $4, %%ecx\n"                                                      \
  "jz 9f\n"                                                              \
  "8:\n"                                                                 \
  "vmovdqa64 (%%rdx), %%zmm28\n"                                         \
  WBCQ_NARROW_ROWS(WBCQ_NARROW_SINGLE)                                   \
  "sub $-128, %%rdx\n"                                                   \
  "add $4, %%rax\n"                                                      \
  "dec %%ecx\n"                                                          \
  "jnz 8b\n"                                                             \
  "9:\n"                                                                 \
  WBCQ_CLOSE_SEGMENT                                                     \
  "jnz 1b\n"

#define WBCQ_NARROW_PART(i, a, part)                                \
  WBCQ_IF_ROW(i, "vextracti32x4 $" #part ", %%zmm" #a ", %%xmm31\n" \
                 "add %%rax, %%rsi\n"                               \
                 "vmovdqu8 %%xmm31, (%%rsi)%{%%k1%}\n")
#define WBCQ_NARROW_STORE(a, b, c, d)                                           \
  WBCQ_PACK(a, a, b, c, d)                                                      \
  "vmovdqu8 %%xmm" #a ", (%%rsi)%{%%k1%}\n"                                     \
  WBCQ_NARROW_PART(b, a, 1) WBCQ_NARROW_PART(c, a, 2) WBCQ_NARROW_PART(d, a, 3) \
  "add %%rax, %%rsi\n"

#define WBCQ_NARROW_GROUP(a, b, c, d)                                                            \
  WBCQ_IF_ROW(a, WBCQ_CONVERT(a, 28) WBCQ_CONVERT(b, 28) WBCQ_CONVERT(c, 28) WBCQ_CONVERT(d, 28) \
                     WBCQ_NARROW_STORE(a, b, c, d))
#define WBCQ_NARROW_ADD(j) \
  WBCQ_CONVERT_ADD(j, 28, "(%%rcx), %%zmm31%{%%k2%}%{z%}") "add %%rbx, %%rcx\n"
#define WBCQ_NARROW_GROUP_ADD(a, b, c, d)                                                    \
  WBCQ_IF_ROW(a, WBCQ_NARROW_ADD(a) WBCQ_NARROW_ADD(b) WBCQ_NARROW_ADD(c) WBCQ_NARROW_ADD(d) \
                     WBCQ_NARROW_STORE(a, b, c, d))
#define WBCQ_NARROW_GROUPS(M) M(0, 1, 2, 3) M(4, 5, 6, 7) M(8, 9, 10, 11) M(12, 13, 14, 15)
#define WBCQ_NARROW_SAVE(i) WBCQ_SAVE(i, i * 64)

template <size_t kRows>
inline void narrow_tile(Frame* frame) {
  __asm__ volatile(
      WBCQ_NARROW_SUMS
      "cmpq $1, %c[output](%%rdi)\n"
      "je 3f\n"
      "ja 4f\n"
      WBCQ_OPEN_OUTPUT
      WBCQ_NARROW_GROUPS(WBCQ_NARROW_GROUP)
      "jmp 5f\n"
      "3:\n"
      WBCQ_OPEN_OUTPUT
      "mov %c[residual](%%rdi), %%rcx\n"
      "mov %c[residual_stride](%%rdi), %%rbx\n"
      "kmovd %c[residual_mask](%%rdi), %%k2\n"
      WBCQ_NARROW_GROUPS(WBCQ_NARROW_GROUP_ADD)
      "jmp 5f\n"
      "4:\n"
      "mov %c[sums](%%rdi), %%rsi\n"
      WBCQ_NARROW_ROWS(WBCQ_NARROW_SAVE)
      "5:\n"
      : : "D"(frame), WBCQ_TILE_OPERANDS(kRows, 1) : WBCQ_TILE_CLOBBERS);
}

// clang-format on

}  // namespace
}  // namespace wbcq

#endif  // WBCQ_KERNELS_GEMM_X86_AVX512VNNI_TILE_H_
