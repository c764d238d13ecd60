// A profile as text: each operator beside what the machine could do.
#ifndef WBCQ_TOOLS_PROFILE_TABLE_H_
#define WBCQ_TOOLS_PROFILE_TABLE_H_

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "engine/bandwidth.h"
#include "engine/peak.h"
#include "engine/session.h"

namespace wbcq::tools {

struct ProfiledOp {
  OpProfile profile;
  bool is_int8;  // multiplies integers: has a share of the int8 peak
};

struct MachineLimits {
  Peak peak;
  std::vector<Bandwidth> bandwidths;  // not empty
  size_t threads;
};

// Columns of equal width, one line for each operator and one for all; below it the limits and the
// time over the floor, which is the integer multiplications at the peak.
//   us, %     time and share of the sum
//   GMAC/s    useful multiplications; % peak: of the int8 peak
//   GB/s      activations and weights; % band: of the bandwidth at as many bytes for each thread
std::string profile_table(std::span<const ProfiledOp> ops, const MachineLimits& limits);

}  // namespace wbcq::tools

#endif  // WBCQ_TOOLS_PROFILE_TABLE_H_
