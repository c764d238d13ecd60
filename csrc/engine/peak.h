// The machine's int8 peak, measured: the denominator of every efficiency figure.
#ifndef WBCQ_ENGINE_PEAK_H_
#define WBCQ_ENGINE_PEAK_H_

#include <cstddef>

#include "base/status.h"
#include "cpu/isa.h"

namespace wbcq {

struct Peak {
  const char* kernel;  // name of the probe
  double gmacs;        // 10^9 multiply-accumulates a second, all threads together
};

// Takes about a quarter of a second. threads >= 1. Errors: kInvalidArgument, kUnsupported.
Result<Peak> measure_peak(Isa isa, size_t threads);

}  // namespace wbcq

#endif  // WBCQ_ENGINE_PEAK_H_
