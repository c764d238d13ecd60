// How fast this machine moves bytes, measured: the limit of operators that hardly multiply.
#ifndef WBCQ_ENGINE_BANDWIDTH_H_
#define WBCQ_ENGINE_BANDWIDTH_H_

#include <cstddef>
#include <span>
#include <vector>

#include "base/status.h"

namespace wbcq {

// Copies within `bytes` of memory (half of them read, half written) at `gigabytes` (10^9 bytes,
// read and written) a second: of one thread while `threads` do the same.
struct Bandwidth {
  size_t bytes;
  double gigabytes;
};

// From what fits the first cache to what fits none, in growing order of bytes. Takes about a
// quarter of a second. Errors: kInvalidArgument.
Result<std::vector<Bandwidth>> measure_bandwidths(size_t threads);

// Of a thread that works on that many bytes: between the two nearest sizes, on a logarithmic scale.
// Not empty.
double bandwidth_at(std::span<const Bandwidth> bandwidths, double bytes);

}  // namespace wbcq

#endif  // WBCQ_ENGINE_BANDWIDTH_H_
