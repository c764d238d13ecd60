#include "ops/op.h"

#include "format/message.h"

namespace wbcq {

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
    default:
      break;
  }
  return Status(StatusCode::kUnsupported,
                format::cat("operator ", format::quoted_name(source.name), " has kind ",
                            static_cast<uint32_t>(source.kind),
                            ", which this version of the engine does not know"));
}

}  // namespace wbcq
