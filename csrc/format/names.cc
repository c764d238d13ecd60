#include "format/names.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "format/format.h"
#include "format/limits.h"

namespace wbcq::format {
namespace {

template <size_t... N>
constexpr auto join(const AttrRule (&... parts)[N]) {
  std::array<AttrRule, (N + ...)> rules = {};
  auto out = rules.begin();
  ((out = std::copy(std::begin(parts), std::end(parts), out)), ...);
  return rules;
}

constexpr AttrRule bits(std::string_view name) { return {name, INT32_MIN, INT32_MAX, true}; }

constexpr AttrRule kPads[] = {
    {"pad_top", 0, kMaxKernel},
    {"pad_left", 0, kMaxKernel},
    {"pad_bottom", 0, kMaxKernel},
    {"pad_right", 0, kMaxKernel},
};
constexpr AttrRule kKernelAndStride[] = {
    {"kernel_h", 1, kMaxKernel},
    {"kernel_w", 1, kMaxKernel},
    {"stride_h", 1, kMaxKernel},
    {"stride_w", 1, kMaxKernel},
};
constexpr AttrRule kPoolWindow[] = {
    {"kernel_h", 0, kMaxKernel},  // 0: adaptive
    {"kernel_w", 0, kMaxKernel},
    {"stride_h", 0, kMaxKernel},
    {"stride_w", 0, kMaxKernel},
};
constexpr AttrRule kDilation[] = {{"dilation_h", 1, kMaxKernel}, {"dilation_w", 1, kMaxKernel}};
constexpr AttrRule kNoDilation[] = {{"dilation_h", 1, 1}, {"dilation_w", 1, 1}};
constexpr AttrRule kGroups[] = {{"groups", 1, kMaxDim}};
constexpr AttrRule kHasResidual[] = {{"has_residual", 0, 1}};
constexpr AttrRule kSubtract[] = {{"subtract", 0, 1}};
constexpr AttrRule kDivisor[] = {{"count_include_pad", 0, 1}, {"divisor", 0, kMaxDivisor}};
constexpr AttrRule kNoDivisor[] = {{"count_include_pad", 0, 0}, {"divisor", 0, 0}};

constexpr AttrRule kClampU8[] = {{"lo", 0, 255}, {"hi", 0, 255}};
constexpr AttrRule kClampF32[] = {bits("lo"), bits("hi")};
constexpr AttrRule kNoClamp[] = {{"lo", 0, 0}, {"hi", 255, 255}};
constexpr AttrRule kPre[] = {bits("pre_scale"), {"pre_zero_point", 0, 255}};
constexpr AttrRule kNoPre[] = {{"pre_scale", 0, 0}, {"pre_zero_point", 0, 0}};

constexpr auto kConv2dU8 =
    join(kKernelAndStride, kPads, kDilation, kGroups, kClampU8, kHasResidual, kPre);
constexpr auto kConv2dF32 =
    join(kKernelAndStride, kPads, kDilation, kGroups, kClampF32, kHasResidual, kNoPre);
constexpr auto kMaxPool2d = join(kPoolWindow, kPads, kDilation, kNoDivisor, kNoClamp, kNoPre);
constexpr auto kAvgPool2dU8 = join(kPoolWindow, kPads, kNoDilation, kDivisor, kClampU8, kPre);
constexpr auto kAvgPool2dF32 = join(kPoolWindow, kPads, kNoDilation, kDivisor, kClampF32, kNoPre);
constexpr auto kAddU8 = join(kClampU8, kPre, kSubtract);
constexpr auto kAddF32 = join(kClampF32, kNoPre, kSubtract);
constexpr auto kMulU8 = join(kClampU8, kPre);
constexpr auto kMulF32 = join(kClampF32, kNoPre);
constexpr AttrRule kResize[] = {{"mode", resize::kNearest, resize::kBilinear},
                                {"align_corners", 0, 1}};
constexpr AttrRule kValueU8[] = {{"value", 0, 255}};
constexpr AttrRule kValueF32[] = {bits("value")};
constexpr auto kPadU8 = join(kPads, kValueU8);
constexpr auto kPadF32 = join(kPads, kValueF32);
constexpr AttrRule kUnary[] = {{"function", unary::kRelu, unary::kMish}, bits("p0"), bits("p1")};
constexpr AttrRule kNormalize[] = {{"groups", 0, kMaxDim}, bits("eps")};
constexpr AttrRule kRearrange[] = {
    {"offset", 0, INT32_MAX},           {"size_0", 1, INT32_MAX},
    {"size_1", 1, INT32_MAX},           {"size_2", 1, INT32_MAX},
    {"size_3", 1, INT32_MAX},           {"size_4", 1, INT32_MAX},
    {"size_5", 1, INT32_MAX},           {"stride_0", INT32_MIN, INT32_MAX},
    {"stride_1", INT32_MIN, INT32_MAX}, {"stride_2", INT32_MIN, INT32_MAX},
    {"stride_3", INT32_MIN, INT32_MAX}, {"stride_4", INT32_MIN, INT32_MAX},
    {"stride_5", INT32_MIN, INT32_MAX}};
constexpr AttrRule kBinary[] = {{"function", binary::kSub, binary::kMinimum}};

}  // namespace

std::string_view dtype_name(uint8_t dtype) {
  switch (static_cast<DType>(dtype)) {
    case DType::kF32:
      return "f32";
    case DType::kU8:
      return "u8";
    case DType::kI8:
      return "i8";
    case DType::kI32:
      return "i32";
  }
  return {};
}

size_t dtype_size(uint8_t dtype) {
  switch (static_cast<DType>(dtype)) {
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kU8:
    case DType::kI8:
      return 1;
  }
  return 0;
}

std::string_view section_name(uint32_t kind) {
  switch (static_cast<SectionKind>(kind)) {
    case SectionKind::kStrings:
      return "strings";
    case SectionKind::kTensors:
      return "tensors";
    case SectionKind::kBlobs:
      return "blobs";
    case SectionKind::kOperands:
      return "operands";
    case SectionKind::kOps:
      return "ops";
    case SectionKind::kIo:
      return "io";
    case SectionKind::kMetadata:
      return "metadata";
    case SectionKind::kData:
      return "data";
  }
  return {};
}

std::string_view op_kind_name(uint32_t kind) {
  switch (static_cast<OpKind>(kind)) {
    case OpKind::kQuantize:
      return "quantize";
    case OpKind::kDequantize:
      return "dequantize";
    case OpKind::kConv2d:
      return "conv2d";
    case OpKind::kMaxPool2d:
      return "max_pool2d";
    case OpKind::kAvgPool2d:
      return "avg_pool2d";
    case OpKind::kAdd:
      return "add";
    case OpKind::kLookup:
      return "lookup";
    case OpKind::kMul:
      return "mul";
    case OpKind::kResize:
      return "resize";
    case OpKind::kPad:
      return "pad";
    case OpKind::kUnary:
      return "unary";
    case OpKind::kBinary:
      return "binary";
    case OpKind::kSoftmax:
      return "softmax";
    case OpKind::kNormalize:
      return "normalize";
    case OpKind::kRearrange:
      return "rearrange";
  }
  return {};
}

std::span<const AttrRule> attr_rules(uint32_t kind, uint8_t dtype) {
  const bool is_f32 = dtype == static_cast<uint8_t>(DType::kF32);
  const auto pick = [is_f32](std::span<const AttrRule> u8, std::span<const AttrRule> f32) {
    return is_f32 ? f32 : u8;
  };
  switch (static_cast<OpKind>(kind)) {
    case OpKind::kConv2d:
      return pick(kConv2dU8, kConv2dF32);
    case OpKind::kMaxPool2d:
      return kMaxPool2d;
    case OpKind::kAvgPool2d:
      return pick(kAvgPool2dU8, kAvgPool2dF32);
    case OpKind::kAdd:
      return pick(kAddU8, kAddF32);
    case OpKind::kMul:
      return pick(kMulU8, kMulF32);
    case OpKind::kResize:
      return kResize;
    case OpKind::kPad:
      return pick(kPadU8, kPadF32);
    case OpKind::kUnary:
      return kUnary;
    case OpKind::kBinary:
      return kBinary;
    case OpKind::kNormalize:
      return kNormalize;
    case OpKind::kRearrange:
      return kRearrange;
    case OpKind::kQuantize:
    case OpKind::kDequantize:
    case OpKind::kLookup:
    case OpKind::kSoftmax:
      break;
  }
  return {};
}

}  // namespace wbcq::format
