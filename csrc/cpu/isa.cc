#include "cpu/isa.h"

#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace wbcq {
namespace {

struct IsaName {
  Isa isa;
  std::string_view name;
};

constexpr std::array<IsaName, 6> kIsaNames = {{
    {Isa::kScalar, "scalar"},
    {Isa::kAvx2, "avx2"},
    {Isa::kAvx512Vnni, "avx512vnni"},
    {Isa::kNeon, "neon"},
    {Isa::kNeonDot, "neondot"},
    {Isa::kNeonI8mm, "neoni8mm"},
}};

struct Features {
  bool avx2 = false;
  bool avx512vnni = false;
  bool neon = false;
  bool neondot = false;
  bool neoni8mm = false;
};

#if defined(__x86_64__)

constexpr bool has_all(uint64_t value, uint64_t mask) { return (value & mask) == mask; }
constexpr uint32_t bit(int index) { return uint32_t{1} << index; }

struct CpuidLeaf {
  uint32_t eax = 0;
  uint32_t ebx = 0;
  uint32_t ecx = 0;
  uint32_t edx = 0;
};

// All zero when the CPU does not have the leaf.
CpuidLeaf cpuid(uint32_t leaf) {
  CpuidLeaf r;
  __get_cpuid_count(leaf, 0, &r.eax, &r.ebx, &r.ecx, &r.edx);
  return r;
}

// The register states that the operating system saves on a context switch. By name of the
// instruction and not by its intrinsic, which needs -mxsave.
uint64_t xcr0() {
  uint32_t low = 0;
  uint32_t high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

Features detect() {
  constexpr uint32_t kFma = bit(12), kOsxsave = bit(27), kAvx = bit(28);
  constexpr uint32_t kAvx2 = bit(5);
  constexpr uint32_t kAvx512F = bit(16), kAvx512Dq = bit(17), kAvx512Bw = bit(30);
  constexpr uint32_t kAvx512Vl = bit(31);
  constexpr uint32_t kAvx512Vbmi = bit(1), kAvx512Vnni = bit(11);
  constexpr uint64_t kYmmState = 0x06;  // XMM, YMM
  constexpr uint64_t kZmmState = 0xE6;  // and opmask, ZMM0-15, ZMM16-31

  Features features;
  const CpuidLeaf leaf1 = cpuid(1);
  if (!has_all(leaf1.ecx, kFma | kOsxsave | kAvx)) return features;
  const CpuidLeaf leaf7 = cpuid(7);
  const uint64_t state = xcr0();
  features.avx2 = has_all(leaf7.ebx, kAvx2) && has_all(state, kYmmState);
  features.avx512vnni = features.avx2 && has_all(state, kZmmState) &&
                        has_all(leaf7.ebx, kAvx512F | kAvx512Dq | kAvx512Bw | kAvx512Vl) &&
                        has_all(leaf7.ecx, kAvx512Vbmi | kAvx512Vnni);
  return features;
}

#elif defined(__aarch64__) && defined(__linux__)

Features detect() {
  // Bit numbers of the kernel's ABI: older C libraries lack the names.
  constexpr unsigned long kHwcapAsimdDp = 1ul << 20;
  constexpr unsigned long kHwcap2I8mm = 1ul << 13;
  Features features;
  features.neon = true;  // Advanced SIMD is mandatory in every ABI that Linux runs on aarch64
  features.neondot = (getauxval(AT_HWCAP) & kHwcapAsimdDp) != 0;
  features.neoni8mm = features.neondot && (getauxval(AT_HWCAP2) & kHwcap2I8mm) != 0;
  return features;
}

#elif defined(__aarch64__)

Features detect() {
  Features features;
  features.neon = true;
  return features;
}

#else

Features detect() { return Features(); }

#endif

std::string supported_names() {
  std::string names;
  for (Isa isa : supported_isas()) {
    if (!names.empty()) names += ", ";
    names += isa_name(isa);
  }
  return names;
}

}  // namespace

std::string_view isa_name(Isa isa) {
  for (const IsaName& entry : kIsaNames) {
    if (entry.isa == isa) return entry.name;
  }
  return "unknown";
}

std::optional<Isa> isa_from_name(std::string_view name) {
  for (const IsaName& entry : kIsaNames) {
    if (entry.name == name) return entry.isa;
  }
  return std::nullopt;
}

bool isa_supported(Isa isa) {
  static const Features features = detect();
  switch (isa) {
    case Isa::kScalar:
      return true;
    case Isa::kAvx2:
      return features.avx2;
    case Isa::kAvx512Vnni:
      return features.avx512vnni;
    case Isa::kNeon:
      return features.neon;
    case Isa::kNeonDot:
      return features.neondot;
    case Isa::kNeonI8mm:
      return features.neoni8mm;
  }
  return false;
}

std::vector<Isa> supported_isas() {
  std::vector<Isa> isas;
  for (const IsaName& entry : kIsaNames) {
    if (isa_supported(entry.isa)) isas.push_back(entry.isa);
  }
  return isas;
}

Result<Isa> select_isa(std::string_view requested) {
  std::string source = "requested ISA";
  if (requested.empty()) {
    const char* forced = std::getenv("WBCQ_FORCE_ISA");
    if (forced == nullptr || *forced == '\0') return supported_isas().back();
    requested = forced;
    source = "environment variable WBCQ_FORCE_ISA";
  }
  const std::optional<Isa> isa = isa_from_name(requested);
  if (isa && isa_supported(*isa)) return *isa;
  const std::string subject = source + " is \"" + std::string(requested) + "\", which ";
  const std::string remedy =
      "; use one of " + supported_names() + ", or leave it empty for the best";
  if (!isa) return Status(StatusCode::kInvalidArgument, subject + "is no known ISA" + remedy);
  return Status(StatusCode::kUnsupported, subject + "this machine cannot run" + remedy);
}

}  // namespace wbcq
