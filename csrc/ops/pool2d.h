// What max and average pooling share: the windows, and the walk over output pixels.
#ifndef WBCQ_OPS_POOL2D_H_
#define WBCQ_OPS_POOL2D_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "ops/op.h"
#include "ops/window.h"

namespace wbcq {

// A pool's tensors and windows.
class PoolOp : public Op {
 protected:
  PoolOp(const OpSource& source, std::string_view kind, std::string_view kernel);

  // Where the pixels under window `o` lie: from begin, `dilation` apart, before end.
  static WindowAxis::Span pixels_inside(const WindowAxis& axis, int64_t o);
  static size_t most_taps(const WindowAxis& axis);

  const KernelTable& kernels() const { return kernels_; }
  const Tensor& input() const { return input_; }
  const Tensor& output() const { return output_; }
  const WindowAxis& y() const { return y_; }
  const WindowAxis& x() const { return x_; }

 private:
  const KernelTable& kernels_;
  const Tensor& input_;
  const Tensor& output_;
  WindowAxis y_;
  WindowAxis x_;
};

// A pool that computes each window by itself. T: uint8_t or float.
template <typename T>
class Pool2d : public PoolOp {
 public:
  // A window of one output pixel: the taps inside the picture, and where it starts before clipping.
  struct Window {
    const T* const* rows;
    size_t taps;
    int64_t y;
    int64_t x;
    T* out;
  };

  std::unique_ptr<OpPlan> plan(size_t batch, size_t threads) const override;

  // Output rows [first, last), counted through all pictures.
  void run_rows(const OpBuffers& buffers, size_t first, size_t last, std::byte* scratch) const;

 protected:
  using PoolOp::PoolOp;
  virtual void run_window(const Window& window) const = 0;
  // After the windows of each output row.
  virtual void finish_row(T* /*out*/) const {}
};

extern template class Pool2d<uint8_t>;
extern template class Pool2d<float>;

}  // namespace wbcq

#endif  // WBCQ_OPS_POOL2D_H_
