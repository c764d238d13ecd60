#include "ops/sparse_inputs.h"

#include <cstring>
#include <utility>

#include "format/message.h"

namespace wbcq {

SparseInputs::SparseInputs(const std::vector<const Tensor*>& inputs, const WindowAxis& y,
                           const WindowAxis& x, const SparseKernel& kernel)
    : kernel_(kernel), inputs_(inputs) {
  for (const Tensor* input : inputs_) indirections_.emplace_back(y, x, input->layout);
}

Status SparseInputs::allocate_padding(const std::string& name) {
  CheckedSize bytes = 0;
  for (size_t i = 0; i < inputs_.size(); ++i) {
    padding_rows_.push_back(bytes.value());
    if (indirections_[i].needs_padding()) bytes = bytes + inputs_[i]->pixel_bytes();
  }
  auto padding = AlignedBuffer::allocate(bytes.value(), format::cat("the padding row of ", name));
  if (!padding.ok()) return padding.status();
  padding_ = std::move(padding).value();
  for (size_t i = 0; i < inputs_.size(); ++i) {
    if (!indirections_[i].needs_padding()) continue;
    // The zero point of floats is 0, as are the bytes of 0.0.
    std::memset(padding_.data() + padding_rows_[i], inputs_[i]->zero_point,
                inputs_[i]->pixel_bytes());
  }
  return Status();
}

size_t SparseInputs::bytes() const {
  size_t bytes = 0;
  for (const Tensor* input : inputs_) bytes += input->pixels() * input->pixel_bytes();
  return bytes;
}

void SparseInputs::expand(const OpBuffers& buffers, Range pixels, const uint8_t** pointers) const {
  for (size_t i = 0; i < inputs_.size(); ++i) {
    const auto* origin =
        reinterpret_cast<const uint8_t*>(buffers.inputs[i]) + inputs_[i]->layout.origin;
    const auto* padding = padding_.as<const uint8_t>() + padding_rows_[i];
    indirections_[i].expand(origin, padding, pixels.begin, pixels.size(),
                            inputs_.size() * kernel_.pixels, pointers + i * kernel_.pixels);
  }
}

void SparseInputs::gather(const SparsePart& part, size_t count, const uint8_t* const* pointers,
                          uint32_t* rows, SparseGatherFn gather_rows) const {
  SparseGather args = {};
  args.count = count;
  args.quads = rows;
  for (const SparsePiece& piece : part.pieces) {
    args.pixels = pointers + piece.segment * kernel_.pixels;
    args.first = piece.first_byte;
    args.bytes = piece.bytes;
    gather_rows(args);
    args.quads += ceil_div(piece.bytes, kSparseQuad) * kernel_.pixels;
  }
}

}  // namespace wbcq
