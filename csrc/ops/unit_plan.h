// The plan of an operator whose schedule deals units to threads.
#ifndef WBCQ_OPS_UNIT_PLAN_H_
#define WBCQ_OPS_UNIT_PLAN_H_

#include <cstddef>

#include "ops/op.h"

namespace wbcq {

// Planned has run_unit(schedule, unit, buffers, scratch).
template <typename Planned, typename Schedule>
class UnitPlan final : public OpPlan {
 public:
  UnitPlan(const Planned& op, const Schedule& schedule, size_t scratch_bytes)
      : OpPlan(schedule.units(), scratch_bytes), op_(op), schedule_(schedule) {}

  void run(const OpBuffers& buffers, size_t first, size_t last, std::byte* scratch) const override {
    for (size_t unit = first; unit < last; ++unit) {
      op_.run_unit(schedule_, unit, buffers, scratch);
    }
  }

 private:
  const Planned& op_;
  Schedule schedule_;
};

}  // namespace wbcq

#endif  // WBCQ_OPS_UNIT_PLAN_H_
