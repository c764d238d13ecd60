#include "ops/op.h"

#include "format/message.h"
#include "format/names.h"

namespace wbcq {
namespace {

Status unsupported(const OpSource& source) {
  return Status(StatusCode::kUnsupported,
                format::cat("operator ", format::quoted_name(source.name), " (",
                            format::op_kind_name(static_cast<uint32_t>(source.kind)),
                            ") is not supported by this version of the engine"));
}

}  // namespace

Result<std::unique_ptr<Op>> make_op(const OpSource& source) {
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
    case format::OpKind::kLookup:
      return make_lookup(source);
    case format::OpKind::kMul:
      return make_mul(source);
    case format::OpKind::kResize:
      return make_resize(source);
    case format::OpKind::kPad:
      return make_pad(source);
    case format::OpKind::kUnary:
      return make_unary(source);
    case format::OpKind::kBinary:
      return make_binary(source);
    case format::OpKind::kSoftmax:
      return make_softmax(source);
    case format::OpKind::kNormalize:
      return make_normalize(source);
    case format::OpKind::kRearrange:
      return make_rearrange(source);
  }
  return unsupported(source);
}

}  // namespace wbcq
