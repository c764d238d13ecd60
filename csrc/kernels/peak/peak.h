// The int8 multiply-accumulate throughput of one core: what a perfect GEMM could reach. Chains of
// an ISA's multiply instructions with enough independent accumulators to hide their latency, no
// memory traffic.
#ifndef WBCQ_KERNELS_PEAK_PEAK_H_
#define WBCQ_KERNELS_PEAK_PEAK_H_

#include <cstddef>
#include <cstdint>

namespace wbcq {

// run() executes `iterations` times the instructions for macs_per_iteration products of int8 pairs
// summed into int32, and writes one value that depends on all of them to `sink`.
struct PeakKernel {
  const char* name;
  size_t macs_per_iteration;
  void (*run)(size_t iterations, int32_t* sink);
};

}  // namespace wbcq

#endif  // WBCQ_KERNELS_PEAK_PEAK_H_
