// The model file, version 1: docs/design/file-format.md in C++. Little-endian, fixed-size records,
// no pointers. wbcq/engine/program_file.py writes the same layout.
#ifndef WBCQ_FORMAT_FORMAT_H_
#define WBCQ_FORMAT_FORMAT_H_

#include <cstdint>

namespace wbcq::format {

inline constexpr unsigned char kMagic[8] = {'W', 'B', 'C', 'Q', 0x0D, 0x0A, 0x1A, 0x0A};
inline constexpr uint16_t kMajor = 1;
inline constexpr uint16_t kMinor = 0;
inline constexpr uint32_t kAlignment = 64;
inline constexpr uint32_t kNone = 0xFFFFFFFFu;  // an absent operand or string

// The dimension that stands for the batch; only dims[0] of an activation may have it.
inline constexpr int32_t kBatch = -1;

enum class SectionKind : uint32_t {
  kStrings = 1,   // UTF-8, each terminated by a zero byte; referred to by offset
  kTensors = 2,   // TensorRecord[]
  kBlobs = 3,     // BlobRecord[]
  kOperands = 4,  // uint32[]
  kOps = 5,       // OpRecord[], in execution order
  kIo = 6,        // IoRecord[]: inputs, then outputs
  kMetadata = 7,  // UTF-8 JSON, never parsed in C++
  kData = 8,      // blob bytes, each blob 64-byte aligned
};
inline constexpr uint32_t kSectionCount = 8;  // version 1 has each section once, in this order

struct Header {
  unsigned char magic[8];
  uint16_t major;
  uint16_t minor;
  uint32_t header_bytes;  // 64
  uint64_t file_bytes;
  uint64_t required_features;  // an unknown bit is refused; version 1.0 has none
  uint32_t section_count;
  uint32_t body_crc32;    // zlib's CRC-32 of bytes [64, file_bytes)
  uint8_t reserved[20];   // zero
  uint32_t header_crc32;  // zlib's CRC-32 of bytes [0, 60)
};
static_assert(sizeof(Header) == 64);

// Follows the header, kSectionCount times. Sections lie one after another, each 64-byte aligned,
// the gaps zero, and the last ends at the end of the file.
struct SectionRecord {
  uint32_t kind;
  uint32_t count;   // records, or bytes where the section is not an array
  uint64_t offset;  // from the start of the file
  uint64_t bytes;
  uint64_t reserved;  // zero
};
static_assert(sizeof(SectionRecord) == 32);

enum class DType : uint8_t { kF32 = 1, kU8 = 2, kI8 = 3, kI32 = 4 };

// An activation. Logical dimensions are N, H, W, C for every tensor; a matrix N, K is N, 1, 1, K.
struct TensorRecord {
  uint32_t name;
  uint8_t dtype;  // kU8 or kF32
  uint8_t reserved0[3];
  int32_t dims[4];
  float scale;         // kU8 only, > 0 and finite; else 0
  int32_t zero_point;  // kU8 only, 0..255; else 0
  uint8_t reserved[32];
};
static_assert(sizeof(TensorRecord) == 64);

// A constant.
struct BlobRecord {
  uint32_t name;
  uint8_t dtype;
  uint8_t rank;  // 1..4
  uint16_t reserved0;
  uint32_t dims[4];  // unused ones are 1
  uint64_t offset;   // from the start of the data section, a multiple of 64
  uint64_t bytes;
  uint8_t reserved[24];
};
static_assert(sizeof(BlobRecord) == 64);

enum class OpKind : uint32_t {
  kQuantize = 1,    // f32 graph input -> u8
  kDequantize = 2,  // u8 -> f32
  kConv2d = 3,      // also linear: a 1x1 convolution of N, 1, 1, K
  kMaxPool2d = 4,
  kAvgPool2d = 5,
  kAdd = 6,
};

// Operands are listed at operands[first_operand]: inputs (tensors), outputs (tensors), blobs.
struct OpRecord {
  uint32_t kind;
  uint32_t name;  // the module path it came from
  uint32_t first_operand;
  uint16_t inputs;
  uint16_t outputs;
  uint32_t blobs;
  uint32_t reserved[3];
  int32_t attrs[16];  // by kind, below; unused ones are zero
};
static_assert(sizeof(OpRecord) == 96);

// attrs of kConv2d. Inputs: x [, residual]. Output: u8, or f32 for a head (then no residual, lo and
// hi are 0 and 255). Blobs: weights i8 [O][KH][KW][I / groups]; bias i32 [O] for a u8 output, f32
// [O] for an f32 output; weight scales f32 [O] or [1].
namespace conv2d {
// clang-format off
enum Attr {
  kKernelH, kKernelW, kStrideH, kStrideW, kPadTop, kPadLeft, kPadBottom, kPadRight,
  kDilationH, kDilationW, kGroups, kLo, kHi,
};
// clang-format on
}  // namespace conv2d
// attrs of kMaxPool2d and kAvgPool2d. The output tensor gives the output's size; a window that
// leaves the padded picture (ceil mode) is clipped. kAvgPool2d has dilation 1, and its kDivisor is
// 0 for the window's own count. kMaxPool2d has kCountIncludePad 0, kDivisor 0, kLo 0 and kHi 255.
namespace pool2d {
// clang-format off
enum Attr {
  kKernelH, kKernelW, kStrideH, kStrideW, kPadTop, kPadLeft, kPadBottom, kPadRight,
  kDilationH, kDilationW, kCountIncludePad, kDivisor, kLo, kHi,
};
// clang-format on
}  // namespace pool2d
// attrs of kAdd.
namespace add {
enum Attr { kLo, kHi };
}  // namespace add

// The shape that the caller sees: the elements are in the order N, C, H, W, the engine converts.
// Rank 4 is N, C, H, W; rank 2 and 3 are other views of as many elements. Inputs are f32 graph
// inputs, each used once here; outputs are f32 and written by an operator.
struct IoRecord {
  uint32_t tensor;
  uint32_t is_output;  // 0 or 1
  uint32_t rank;       // 2..4
  int32_t dims[4];     // dims[0] == kBatch; unused ones are 1
  uint32_t reserved;
};
static_assert(sizeof(IoRecord) == 32);

}  // namespace wbcq::format

#endif  // WBCQ_FORMAT_FORMAT_H_
