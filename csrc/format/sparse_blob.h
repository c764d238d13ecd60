// Blobs that are stored sparse: a mask of blocks, then the elements of those that are not zero
// (BlobRecord in format.h).
#ifndef WBCQ_FORMAT_SPARSE_BLOB_H_
#define WBCQ_FORMAT_SPARSE_BLOB_H_

#include <cstddef>
#include <cstdint>

#include "format/format.h"

namespace wbcq::format {

// How the elements of a blob lie in blocks. A dense blob has a mask of 0 bytes.
struct SparseLayout {
  explicit SparseLayout(const BlobRecord& blob);

  size_t elements;
  size_t block;
  size_t row;         // elements; rows that are whole blocks count as one
  size_t row_blocks;  // of a row
  size_t blocks;      // of all rows
  size_t mask_bytes;
};

// Walks along the elements of a blob and counts the stored ones; all are, if it is dense.
class StoredCounter {
 public:
  // The mask outlives the counter.
  StoredCounter(const BlobRecord& blob, const std::byte* mask) : layout_(blob), mask_(mask) {}
  // Of the next `elements`, which exist.
  size_t next(size_t elements);

 private:
  size_t count(size_t first, size_t last) const;

  SparseLayout layout_;
  const std::byte* mask_;
  size_t first_block_ = 0;  // of the present row
  size_t at_ = 0;           // in the present row
};

// Writes all elements of a sparse blob whose bytes were checked; both addresses are aligned to the
// elements.
void expand_sparse(const BlobRecord& blob, const std::byte* stored, std::byte* elements);

}  // namespace wbcq::format

#endif  // WBCQ_FORMAT_SPARSE_BLOB_H_
