// Instruction sets that have kernels, and which of them this machine can run.
#ifndef WBCQ_CPU_ISA_H_
#define WBCQ_CPU_ISA_H_

#include <optional>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace wbcq {

// Ordered from the least to the most capable inside one architecture.
enum class Isa {
  kScalar = 0,
  kAvx2 = 1,        // AVX2 + FMA feature bits; no FMA contraction is ever used for requantization
  kAvx512Vnni = 2,  // AVX-512 F, BW, DQ, VL, VBMI, VNNI
  kNeon = 3,        // ARMv8.0-A Advanced SIMD
  kNeonDot = 4,     // + SDOT/UDOT (FEAT_DotProd)
  kNeonI8mm = 5,    // + USDOT/SMMLA (FEAT_I8MM)
};

// "scalar", "avx2", "avx512vnni", "neon", "neondot", "neoni8mm".
std::string_view isa_name(Isa isa);
std::optional<Isa> isa_from_name(std::string_view name);

// True where the CPU and the operating system (XGETBV / HWCAP) support it.
bool isa_supported(Isa isa);

// Every supported Isa, kScalar first and the best last.
std::vector<Isa> supported_isas();

// The Isa to use: `requested` if it is not empty, else the environment variable WBCQ_FORCE_ISA if
// it is set and not empty, else the best one. Unknown or unsupported names are kInvalidArgument /
// kUnsupported, and the message lists the names that work on this machine.
Result<Isa> select_isa(std::string_view requested);

}  // namespace wbcq

#endif  // WBCQ_CPU_ISA_H_
