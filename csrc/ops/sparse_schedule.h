// How the tiles of a sparse convolution (ops/conv2d_sparse.cc) are shared among threads.
#ifndef WBCQ_OPS_SPARSE_SCHEDULE_H_
#define WBCQ_OPS_SPARSE_SCHEDULE_H_

#include <cstddef>

#include "ops/thread_grid.h"

namespace wbcq {

struct SparseShape {
  size_t pixels;       // of all pictures
  size_t tile_pixels;  // SparseKernel::pixels
  size_t input_bytes;  // of all pictures
  size_t chunks;       // of output channels
  size_t weight_bytes;
  double gather;  // time of bringing a tile into lane order, in times of a chunk of outputs
};

// A unit is a range of pixels by a range of chunks. Pixels are dealt in half tiles, which cost
// about half; all chunks that follow one gathering are best left together.
class SparseSchedule {
 public:
  SparseSchedule(const SparseShape& shape, size_t threads);

  size_t units() const { return grid_.units(); }
  Range chunks(size_t unit) const { return grid_.panels(unit); }
  size_t most_chunks() const { return grid_.unit_panels(); }
  Range pixels(size_t unit) const;

 private:
  size_t pixels_;
  size_t half_;
  ThreadGrid grid_;
};

}  // namespace wbcq

#endif  // WBCQ_OPS_SPARSE_SCHEDULE_H_
