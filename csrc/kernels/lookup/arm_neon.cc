#include <arm_neon.h>

#include "kernels/lookup/lookup.h"

namespace wbcq {
namespace {

constexpr size_t kLanes = 16;

struct Table {
  explicit Table(const uint8_t* table) {
    for (size_t i = 0; i < 4; ++i) {
      for (size_t j = 0; j < 4; ++j) part[i].val[j] = vld1q_u8(table + i * 64 + j * 16);
    }
  }
  // TBL gives 0 for an index of 64 or more, TBX leaves its operand: three of four do not answer.
  uint8x16_t operator()(uint8x16_t index) const {
    const uint8x16_t part_size = vdupq_n_u8(64);
    uint8x16_t bytes = vqtbl4q_u8(part[0], index);
    for (size_t i = 1; i < 4; ++i) {
      index = vsubq_u8(index, part_size);
      bytes = vqtbx4q_u8(bytes, part[i], index);
    }
    return bytes;
  }
  uint8x16x4_t part[4];
};

void run_pixel(const uint8_t* in, uint8_t* out, size_t size, const Table& parts,
               const uint8_t* table) {
  size_t i = 0;
  for (; size - i >= kLanes; i += kLanes) vst1q_u8(out + i, parts(vld1q_u8(in + i)));
  for (; i < size; ++i) out[i] = table[in[i]];
}

void lookup_u8(const LookupU8& args) {
  const Table parts(args.table);
  if (args.in_stride == args.channels && args.out_stride == args.channels) {
    run_pixel(args.in, args.out, args.pixels * args.channels, parts, args.table);
    return;
  }
  for (size_t p = 0; p < args.pixels; ++p) {
    run_pixel(args.in + p * args.in_stride, args.out + p * args.out_stride, args.channels, parts,
              args.table);
  }
}

}  // namespace

extern const LookupKernels lookup_arm_neon = {"lookup_arm_neon", lookup_u8};

}  // namespace wbcq
