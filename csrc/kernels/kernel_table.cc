#include "kernels/kernel_table.h"

#include <array>
#include <optional>

namespace wbcq {

#define WBCQ_GEMM_KERNEL(isa, object) extern const GemmKernel object;
#include "kernels/gemm/kernels.inc"
#define WBCQ_POOL_KERNELS(isa, object) extern const PoolKernels object;
#include "kernels/pool/kernels.inc"
#define WBCQ_ELEMENTWISE_KERNELS(isa, object) extern const ElementwiseKernels object;
#include "kernels/elementwise/kernels.inc"
#define WBCQ_CONVERT_KERNELS(isa, object) extern const ConvertKernels object;
#include "kernels/convert/kernels.inc"

namespace {

constexpr size_t kIsaCount = 6;

constexpr size_t index_of(Isa isa) { return static_cast<size_t>(isa); }

// The ISAs of this architecture, each able to run the kernels of those before it.
#if defined(__x86_64__)
constexpr std::array kCompiledIsas = {Isa::kScalar, Isa::kAvx2, Isa::kAvx512Vnni};
#elif defined(__aarch64__)
constexpr std::array kCompiledIsas = {Isa::kScalar, Isa::kNeon, Isa::kNeonDot, Isa::kNeonI8mm};
#else
constexpr std::array kCompiledIsas = {Isa::kScalar};
#endif

using Tables = std::array<std::optional<KernelTable>, kIsaCount>;

Tables build_tables() {
  std::array<KernelTable, kIsaCount> own = {};
#define WBCQ_GEMM_KERNEL(isa, object) own[index_of(Isa::k##isa)].gemm = &object;
#include "kernels/gemm/kernels.inc"
#define WBCQ_POOL_KERNELS(isa, object) own[index_of(Isa::k##isa)].pool = &object;
#include "kernels/pool/kernels.inc"
#define WBCQ_ELEMENTWISE_KERNELS(isa, object) own[index_of(Isa::k##isa)].elementwise = &object;
#include "kernels/elementwise/kernels.inc"
#define WBCQ_CONVERT_KERNELS(isa, object) own[index_of(Isa::k##isa)].convert = &object;
#include "kernels/convert/kernels.inc"

  Tables tables;
  KernelTable best = {};
  for (Isa isa : kCompiledIsas) {
    const KernelTable& table = own[index_of(isa)];
    best.isa = isa;
    if (table.gemm != nullptr) best.gemm = table.gemm;
    if (table.pool != nullptr) best.pool = table.pool;
    if (table.elementwise != nullptr) best.elementwise = table.elementwise;
    if (table.convert != nullptr) best.convert = table.convert;
    tables[index_of(isa)] = best;
  }
  return tables;
}

}  // namespace

const KernelTable* kernel_table(Isa isa) {
  static const Tables tables = build_tables();
  const size_t index = index_of(isa);
  return index < tables.size() && tables[index] ? &*tables[index] : nullptr;
}

}  // namespace wbcq
