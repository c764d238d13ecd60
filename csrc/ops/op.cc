#include "ops/op.h"

#include "format/message.h"
#include "format/names.h"

namespace wbcq {
namespace {

// Why this version of the engine does not run an operator; empty if it does.
std::string_view missing_feature(const OpSource& source) {
  using format::DType;
  using format::OpKind;
  const bool converts = source.kind == OpKind::kQuantize || source.kind == OpKind::kDequantize;
  if (!converts && source.inputs[0]->dtype == DType::kF32) return "float operands";
  if (source.kind == OpKind::kConv2d) {
    if (source.inputs.size() > (source.residual != nullptr ? 2u : 1u)) return "several inputs";
    if (source.blobs.size() > 3) return "a table";
  }
  if (source.kind == OpKind::kAvgPool2d && !source.blobs.empty()) return "a table";
  if (source.kind == OpKind::kAdd) {
    if (!source.blobs.empty()) return "a table";
    if (source.attrs.size() > format::add::kSubtract && source.attrs[format::add::kSubtract] != 0) {
      return "subtraction";
    }
    if (source.inputs[1]->pixels() != source.inputs[0]->pixels()) return "broadcast";
  }
  return {};
}

Status unsupported(const OpSource& source, std::string_view feature) {
  return Status(StatusCode::kUnsupported,
                format::cat("operator ", format::quoted_name(source.name), " (",
                            format::op_kind_name(static_cast<uint32_t>(source.kind)),
                            feature.empty() ? "" : " with ", feature,
                            ") is not supported by this version of the engine"));
}

}  // namespace

Result<std::unique_ptr<Op>> make_op(const OpSource& source) {
  if (const std::string_view feature = missing_feature(source); !feature.empty()) {
    return unsupported(source, feature);
  }
  switch (source.kind) {
    case format::OpKind::kQuantize:
      return make_quantize(source);
    case format::OpKind::kDequantize:
      return make_dequantize(source);
    case format::OpKind::kConv2d:
      return make_conv2d(source);
    case format::OpKind::kMaxPool2d:
      return make_max_pool2d(source);
    case format::OpKind::kAvgPool2d:
      return make_avg_pool2d(source);
    case format::OpKind::kAdd:
      return make_add(source);
    default:
      break;
  }
  return unsupported(source, {});
}

}  // namespace wbcq
