// What operators share whose output elements depend on one pixel of each input: the walk over runs
// of pixels.
#ifndef WBCQ_OPS_ELEMENTWISE_H_
#define WBCQ_OPS_ELEMENTWISE_H_

#include <cstddef>
#include <memory>
#include <string_view>

#include "ops/op.h"

namespace wbcq {

// One or two inputs of the output's shape; the second may have one pixel, which then meets all.
class ElementwiseOp : public Op {
 public:
  // `pixels` runs of `channels` elements; strides count elements, b_stride is 0 for a broadcast.
  struct Run {
    size_t pixels;
    size_t channels;
    const std::byte* a;
    size_t a_stride;
    const std::byte* b;  // null for an operator of one input
    size_t b_stride;
    std::byte* out;
    size_t out_stride;
  };

  bool may_overwrite(size_t input) const override { return input == 0 || !broadcast_; }
  std::unique_ptr<OpPlan> plan(size_t batch, size_t threads) const override;

  // Output rows [first, last), counted through all pictures.
  void run_rows(const OpBuffers& buffers, size_t first, size_t last, std::byte* scratch) const;

 protected:
  enum class Unit { kElement, kPixel };  // what an output element depends on

  ElementwiseOp(const OpSource& source, std::string_view kind, std::string_view kernel,
                Unit unit = Unit::kElement);
  virtual void run(const Run& run) const = 0;

  const Tensor& a() const { return a_; }
  const Tensor& b() const { return *b_; }
  const Tensor& output() const { return output_; }

 private:
  const Tensor& a_;
  const Tensor* b_;  // or null
  const Tensor& output_;
  bool broadcast_;
  bool joins_pixels_;
  size_t rows_per_run_;
};

}  // namespace wbcq

#endif  // WBCQ_OPS_ELEMENTWISE_H_
