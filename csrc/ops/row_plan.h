// The plan of an operator whose tiles are rows of pictures.
#ifndef WBCQ_OPS_ROW_PLAN_H_
#define WBCQ_OPS_ROW_PLAN_H_

#include "ops/op.h"

namespace wbcq {

// RowOp has run_rows(const OpBuffers&, size_t first, size_t last, std::byte* scratch) const; rows
// are counted through all pictures.
template <typename RowOp>
class RowPlan final : public OpPlan {
 public:
  RowPlan(const RowOp& op, size_t rows, size_t scratch_bytes = 0)
      : OpPlan(rows, scratch_bytes), op_(op) {}

  void run(const OpBuffers& buffers, size_t first, size_t last, std::byte* scratch) const override {
    op_.run_rows(buffers, first, last, scratch);
  }

 private:
  const RowOp& op_;
};

}  // namespace wbcq

#endif  // WBCQ_OPS_ROW_PLAN_H_
