#include "format/names.h"

#include "format/format.h"
#include "format/limits.h"

namespace wbcq::format {
namespace {

constexpr AttrRule kConv2dRules[] = {
    {"kernel_h", 1, kMaxKernel},
    {"kernel_w", 1, kMaxKernel},
    {"stride_h", 1, kMaxKernel},
    {"stride_w", 1, kMaxKernel},
    {"pad_top", 0, kMaxKernel},
    {"pad_left", 0, kMaxKernel},
    {"pad_bottom", 0, kMaxKernel},
    {"pad_right", 0, kMaxKernel},
    {"dilation_h", 1, kMaxKernel},
    {"dilation_w", 1, kMaxKernel},
    {"groups", 1, kMaxDim},
    {"lo", 0, 255},
    {"hi", 0, 255},
};
constexpr AttrRule kMaxPool2dRules[] = {
    {"kernel_h", 1, kMaxKernel},
    {"kernel_w", 1, kMaxKernel},
    {"stride_h", 1, kMaxKernel},
    {"stride_w", 1, kMaxKernel},
    {"pad_top", 0, kMaxKernel},
    {"pad_left", 0, kMaxKernel},
    {"pad_bottom", 0, kMaxKernel},
    {"pad_right", 0, kMaxKernel},
    {"dilation_h", 1, kMaxKernel},
    {"dilation_w", 1, kMaxKernel},
    {"count_include_pad", 0, 0},
    {"divisor", 0, 0},
    {"lo", 0, 0},
    {"hi", 255, 255},
};
constexpr AttrRule kAvgPool2dRules[] = {
    {"kernel_h", 1, kMaxKernel},
    {"kernel_w", 1, kMaxKernel},
    {"stride_h", 1, kMaxKernel},
    {"stride_w", 1, kMaxKernel},
    {"pad_top", 0, kMaxKernel},
    {"pad_left", 0, kMaxKernel},
    {"pad_bottom", 0, kMaxKernel},
    {"pad_right", 0, kMaxKernel},
    {"dilation_h", 1, 1},
    {"dilation_w", 1, 1},
    {"count_include_pad", 0, 1},
    {"divisor", 0, kMaxDivisor},
    {"lo", 0, 255},
    {"hi", 0, 255},
};
constexpr AttrRule kAddRules[] = {{"lo", 0, 255}, {"hi", 0, 255}};

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
  }
  return {};
}

std::span<const AttrRule> attr_rules(uint32_t kind) {
  switch (static_cast<OpKind>(kind)) {
    case OpKind::kConv2d:
      return kConv2dRules;
    case OpKind::kMaxPool2d:
      return kMaxPool2dRules;
    case OpKind::kAvgPool2d:
      return kAvgPool2dRules;
    case OpKind::kAdd:
      return kAddRules;
    default:
      return {};
  }
}

}  // namespace wbcq::format
