// The model file, version 1: docs/design/file-format.md in C++. Little-endian, fixed-size records,
// no pointers. wbcq/engine/program_file.py writes the same layout.
#ifndef WBCQ_FORMAT_FORMAT_H_
#define WBCQ_FORMAT_FORMAT_H_

#include <cstdint>

namespace wbcq::format {

inline constexpr unsigned char kMagic[8] = {'W', 'B', 'C', 'Q', 0x0D, 0x0A, 0x1A, 0x0A};
inline constexpr uint16_t kMajor = 1;
inline constexpr uint16_t kMinor = 3;
inline constexpr uint32_t kAlignment = 64;
inline constexpr uint32_t kNone = 0xFFFFFFFFu;  // an absent operand or string
inline constexpr uint64_t kSparseBlobs = 1;     // a required feature, since 1.3

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
  uint64_t required_features;  // kSparseBlobs; an unknown bit is refused
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
//
// A view (since 1.1) has no memory of its own: it is the channels [channel_offset, channel_offset +
// C) of its parent, whose dtype, height, width, scale and zero point it shares. A parent is no
// view. Operators read and write views like any tensor. Each channel of a parent is written once,
// by an operator that writes the parent or a view that holds it, before it is read through any of
// them: a slice is a view that is read, a concatenation a parent whose views are written.
struct TensorRecord {
  uint32_t name;
  uint8_t dtype;  // kU8 or kF32
  uint8_t reserved0[3];
  int32_t dims[4];
  float scale;             // kU8 only, > 0 and finite; else 0
  int32_t zero_point;      // kU8 only, 0..255; else 0
  uint32_t parent;         // index of the parent + 1; 0: not a view
  int32_t channel_offset;  // in the parent; 0 for what is not a view
  uint8_t reserved[24];
};
static_assert(sizeof(TensorRecord) == 64);

// A constant. Since 1.3 the weights of a convolution may be stored sparse: a mask, then values.
// Each row, which is the last dimension, is cut into blocks of `block` elements, of which the last
// may be shorter. Bit i % 8 of byte i / 8 of the mask is set if block i is stored; the mask is
// padded with zeros to a multiple of 8 bytes. The values are the elements of the stored blocks, one
// after another; those of other blocks are zero. A sparse blob has fewer bytes than a dense one,
// and its file requires the feature kSparseBlobs.
struct BlobRecord {
  uint32_t name;
  uint8_t dtype;
  uint8_t rank;   // 1..4
  uint8_t block;  // 0: dense; sparse: 1 or 4
  uint8_t reserved0;
  uint32_t dims[4];  // unused ones are 1
  uint64_t offset;   // from the start of the data section, a multiple of 64
  uint64_t bytes;
  uint8_t reserved[24];
};
static_assert(sizeof(BlobRecord) == 64);

enum class OpKind : uint32_t {
  kQuantize = 1,    // f32 -> u8
  kDequantize = 2,  // u8 -> f32
  kConv2d = 3,      // also linear: a 1x1 convolution of N, 1, 1, K
  kMaxPool2d = 4,
  kAvgPool2d = 5,
  kAdd = 6,
  // Since 1.1.
  kLookup = 7,  // u8 -> u8 through a table
  kMul = 8,
  kResize = 9,
  kPad = 10,
  kUnary = 11,    // f32 -> f32
  kBinary = 12,   // f32, f32 -> f32
  kSoftmax = 13,  // f32 -> f32, over the channels of each pixel
  // Since 1.2.
  kNormalize = 14,  // f32 -> f32
  kRearrange = 15,
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

// Operators but conversions and conv2d heads read and write one dtype. If it is f32, the attributes
// that clamp, kLo and kHi, are float32 bits (-inf and inf: no clamp); if it is u8, integers 0..255.
//
// Table: where an operator on u8 has one, a last blob u8 [256], its result is table[q] where q was
// rounded and clamped with the scale kPreScale (float32 bits) and kPreZeroPoint in place of the
// output's; without one these two are 0.

// attrs of kConv2d. Inputs: x, then further inputs whose channels follow those of x (same height
// and width, each with its own scale and zero point; only if kGroups is 1, or if each output
// channel reads one input channel, its own: depthwise), then, if kHasResidual, the residual.
// u8: blobs are weights i8 [O][KH][KW][I / groups]; bias i32 [O] for a u8 output, f32 [O] for an
// f32 output; weight scales f32 [O] or [1]; table. An f32 output (a head) has neither residual nor
// table, its kLo and kHi are 0 and 255. f32: blobs are weights f32, bias f32 [O].
// A file of version 1.0 has no kHasResidual: a second input is the residual
// (ModelFile::conv2d_residual).
namespace conv2d {
// clang-format off
enum Attr {
  kKernelH, kKernelW, kStrideH, kStrideW, kPadTop, kPadLeft, kPadBottom, kPadRight,
  kDilationH, kDilationW, kGroups, kLo, kHi, kHasResidual, kPreScale, kPreZeroPoint,
};
// clang-format on
}  // namespace conv2d
// attrs of kMaxPool2d and kAvgPool2d. The output tensor gives the output's size; a window that
// leaves the padded picture (ceil mode) is clipped. Since 1.2 kernels and strides may all be 0:
// then the pool is adaptive, window o of O along an axis of I pixels is [floor(o I / O), ceil((o +
// 1) I / O)), and all padding, kCountIncludePad and kDivisor are 0. kAvgPool2d has dilation 1, its
// kDivisor is 0 for the window's own count, and it may have a table. kMaxPool2d has
// kCountIncludePad 0, kDivisor 0 and, whatever its dtype, kLo 0 and kHi 255.
namespace pool2d {
// clang-format off
enum Attr {
  kKernelH, kKernelW, kStrideH, kStrideW, kPadTop, kPadLeft, kPadBottom, kPadRight,
  kDilationH, kDilationW, kCountIncludePad, kDivisor, kLo, kHi, kPreScale, kPreZeroPoint,
};
// clang-format on
}  // namespace pool2d
// attrs of kAdd. Inputs: a, b; b has the shape of a, or height and width 1: then it is added to
// every pixel. kSubtract: a - b. Table.
namespace add {
enum Attr { kLo, kHi, kPreScale, kPreZeroPoint, kSubtract };
}  // namespace add
// attrs of kMul. Inputs as of kAdd. Table.
namespace mul {
enum Attr { kLo, kHi, kPreScale, kPreZeroPoint };
}  // namespace mul
// kLookup has no attributes and one blob, the table u8 [256]. Scales and zero points are free.
//
// attrs of kResize. The sizes are the tensors'; input and output share scale and zero point.
namespace resize {
enum Attr { kMode, kAlignCorners };  // kAlignCorners: kBilinear only
enum Mode : int32_t { kNearest = 0, kBilinear = 1 };
}  // namespace resize
// attrs of kPad. Input and output share scale and zero point.
namespace pad {
// kValue: what the padding holds, the quantized 0..255 or float32 bits (not NaN).
enum Attr { kTop, kLeft, kBottom, kRight, kValue };
}  // namespace pad
// attrs of kUnary. kP0 and kP1 are float32 bits of the function's parameters, 0 where it has none.
namespace unary {
enum Attr { kFunction, kP0, kP1 };
enum Function : int32_t {
  kRelu = 1,
  kRelu6 = 2,
  kLeakyRelu = 3,  // p0: slope below 0
  kHardswish = 4,
  kHardsigmoid = 5,
  kSilu = 6,
  kSigmoid = 7,
  kGelu = 8,      // with erf
  kGeluTanh = 9,  // the approximation with tanh
  kTanh = 10,
  kExp = 11,
  kSqrt = 12,
  kRsqrt = 13,
  kReciprocal = 14,
  kNeg = 15,
  kAbs = 16,
  kClamp = 17,     // p0 <= p1, may be infinite
  kAffine = 18,    // x p0 + p1
  kElu = 19,       // p0: alpha
  kSoftplus = 20,  // p0: beta > 0
  kMish = 21,
};
}  // namespace unary
// attrs of kBinary. Inputs as of kAdd.
namespace binary {
enum Attr { kFunction };
enum Function : int32_t { kSub = 1, kDiv = 2, kMaximum = 3, kMinimum = 4 };
}  // namespace binary

// attrs of kNormalize: y = (x - mean) / sqrt(variance + eps) * weight[c] + bias[c]. Blobs are
// weight and bias, f32 [C].
namespace normalize {
// kGroups: 0, the mean and variance of the channels of each pixel; else of the pixels and channels
// of each of so many groups, a divisor of C. kEps: float32 bits, at least 0.
enum Attr { kGroups, kEps };
}  // namespace normalize

// attrs of kRearrange: y holds elements of x. Elements are counted in the order H, W, C. With the
// number of an element of y in digits, i = ((d0 size1 + d1) size2 + d2) ..., it is element offset +
// d0 stride0 + d1 stride1 + ... of x. Input and output share dtype, scale and zero point.
namespace rearrange {
inline constexpr int kDigits = 6;
enum Attr {
  kOffset,
  kSize,
  kStride = kSize + kDigits
};  // kSize .. and kStride ..: one each a digit
}  // namespace rearrange

// The shape that the caller sees: the elements are in the order N, C, H, W, the engine converts.
// Rank 4 is N, C, H, W; rank 2 and 3 are other shapes of as many elements. Inputs are f32 and no
// views, each used once here; outputs are f32, written by operators, each used once here.
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
