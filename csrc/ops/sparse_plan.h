// The plan of a sparse convolution, of integers or floats.
#ifndef WBCQ_OPS_SPARSE_PLAN_H_
#define WBCQ_OPS_SPARSE_PLAN_H_

#include <cstddef>

#include "ops/op.h"
#include "ops/sparse_schedule.h"

namespace wbcq {

// ConvOp has scratch(chunks).bytes and run_unit(schedule, unit, buffers, scratch).
template <typename ConvOp>
class SparsePlan final : public OpPlan {
 public:
  SparsePlan(const ConvOp& op, const SparseSchedule& schedule)
      : OpPlan(schedule.units(), op.scratch(schedule.most_chunks()).bytes),
        op_(op),
        schedule_(schedule) {}

  void run(const OpBuffers& buffers, size_t first, size_t last, std::byte* scratch) const override {
    for (size_t unit = first; unit < last; ++unit) {
      op_.run_unit(schedule_, unit, buffers, scratch);
    }
  }

 private:
  const ConvOp& op_;
  SparseSchedule schedule_;
};

}  // namespace wbcq

#endif  // WBCQ_OPS_SPARSE_PLAN_H_
