#include "format/sparse_blob.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/checked.h"
#include "format/names.h"

namespace wbcq::format {
namespace {

constexpr size_t kWordBits = 64;

uint64_t word(const std::byte* mask, size_t index) {
  uint64_t bits;
  std::memcpy(&bits, mask + index * sizeof(bits), sizeof(bits));
  return bits;
}

bool bit(const std::byte* mask, size_t index) {
  return (static_cast<unsigned>(mask[index / 8]) >> index % 8 & 1) != 0;
}

size_t count_bits(const std::byte* mask, size_t first, size_t last) {
  size_t count = 0;
  while (first < last) {
    const size_t bits = std::min(last - first, kWordBits - first % kWordBits);
    const uint64_t part = word(mask, first / kWordBits) >> first % kWordBits;
    count += static_cast<size_t>(std::popcount(part << (kWordBits - bits)));
    first += bits;
  }
  return count;
}

template <typename T>
void expand(const SparseLayout& layout, const std::byte* mask, const T* values, T* elements) {
  std::fill_n(elements, layout.elements, T{0});
  size_t row_end = layout.row_blocks;  // in blocks
  T* row = elements;
  for (size_t first = 0; first < layout.blocks; first += kWordBits) {
    for (uint64_t left = word(mask, first / kWordBits); left != 0; left &= left - 1) {
      const size_t block = first + static_cast<size_t>(std::countr_zero(left));
      for (; block >= row_end; row_end += layout.row_blocks) row += layout.row;
      const size_t at = (block - (row_end - layout.row_blocks)) * layout.block;
      const size_t end = std::min(at + layout.block, layout.row);
      for (size_t i = at; i < end; ++i) row[i] = *values++;
    }
  }
}

}  // namespace

SparseLayout::SparseLayout(const BlobRecord& blob) : elements(1), block(blob.block) {
  for (int i = 0; i < blob.rank; ++i) elements *= blob.dims[i];
  const size_t last = blob.dims[blob.rank - 1];
  row = block == 0 || last % block == 0 ? elements : last;
  row_blocks = block == 0 ? 0 : ceil_div(row, block);
  blocks = elements / row * row_blocks;
  mask_bytes = ceil_div(blocks, kWordBits) * sizeof(uint64_t);
}

// Between two places of the present row.
size_t StoredCounter::count(size_t first, size_t last) const {
  const size_t block = layout_.block;
  const auto part = [&](size_t at) {
    return at % block != 0 && bit(mask_, first_block_ + at / block) ? at % block : 0;
  };
  return block * count_bits(mask_, first_block_ + first / block, first_block_ + last / block) +
         part(last) - part(first);
}

size_t StoredCounter::next(size_t elements) {
  if (layout_.block == 0) return elements;
  size_t total = 0;
  while (elements > 0) {
    const size_t step = std::min(elements, layout_.row - at_);
    total += count(at_, at_ + step);
    elements -= step;
    at_ += step;
    if (at_ == layout_.row) {
      at_ = 0;
      first_block_ += layout_.row_blocks;
    }
  }
  return total;
}

void expand_sparse(const BlobRecord& blob, const std::byte* stored, std::byte* elements) {
  const SparseLayout layout(blob);
  const std::byte* values = stored + layout.mask_bytes;
  if (dtype_size(blob.dtype) == sizeof(int8_t)) {
    expand(layout, stored, reinterpret_cast<const int8_t*>(values),
           reinterpret_cast<int8_t*>(elements));
  } else {
    expand(layout, stored, reinterpret_cast<const uint32_t*>(values),
           reinterpret_cast<uint32_t*>(elements));
  }
}

}  // namespace wbcq::format
