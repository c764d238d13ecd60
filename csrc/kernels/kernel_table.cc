#include "kernels/kernel_table.h"

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

namespace wbcq {

#define WBCQ_GEMM_KERNEL(isa, object) extern const GemmKernel object;
#include "kernels/gemm/kernels.inc"
#define WBCQ_WINOGRAD_KERNEL(isa, object) extern const WinogradKernel object;
#include "kernels/winograd/kernels.inc"
#define WBCQ_SPARSE_KERNEL(isa, object) extern const SparseKernel object;
#include "kernels/sparse/kernels.inc"
#define WBCQ_POOL_KERNELS(isa, object) extern const PoolKernels object;
#include "kernels/pool/kernels.inc"
#define WBCQ_ELEMENTWISE_KERNELS(isa, object) extern const ElementwiseKernels object;
#include "kernels/elementwise/kernels.inc"
#define WBCQ_CONVERT_KERNELS(isa, object) extern const ConvertKernels object;
#include "kernels/convert/kernels.inc"
#define WBCQ_LOOKUP_KERNELS(isa, object) extern const LookupKernels object;
#include "kernels/lookup/kernels.inc"
#define WBCQ_RESIZE_KERNELS(isa, object) extern const ResizeKernels object;
#include "kernels/resize/kernels.inc"
#define WBCQ_ELEMENTWISE_F32_KERNELS(isa, object) extern const ElementwiseF32Kernels object;
#include "kernels/elementwise_f32/kernels.inc"
#define WBCQ_POOL_F32_KERNELS(isa, object) extern const PoolF32Kernels object;
#include "kernels/pool_f32/kernels.inc"
#define WBCQ_GEMM_F32_KERNEL(isa, object) extern const GemmF32Kernel object;
#include "kernels/gemm_f32/kernels.inc"
#define WBCQ_DWCONV_F32_KERNEL(isa, object) extern const DwconvF32Kernel object;
#include "kernels/dwconv_f32/kernels.inc"
#define WBCQ_STEM_KERNEL(isa, object) extern const StemKernel object;
#include "kernels/stem/kernels.inc"
#define WBCQ_DWCONV_KERNEL(isa, object) extern const DwconvKernel object;
#include "kernels/dwconv/kernels.inc"

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

struct DwconvEntry {
  Isa isa;
  const DwconvKernel* kernel;
};

constexpr DwconvEntry kDwconvEntries[] = {
#define WBCQ_DWCONV_KERNEL(isa, object) {Isa::k##isa, &object},
#include "kernels/dwconv/kernels.inc"
};

// The depthwise kernels that an ISA can run: its own first, the scalar one last.
std::vector<const DwconvKernel*> dwconv_kernels_up_to(Isa isa) {
  std::vector<const DwconvKernel*> kernels;
  for (auto own = kCompiledIsas.rbegin(); own != kCompiledIsas.rend(); ++own) {
    if (*own > isa) continue;
    for (const DwconvEntry& entry : kDwconvEntries) {
      if (entry.isa == *own) kernels.push_back(entry.kernel);
    }
  }
  return kernels;
}

using Tables = std::array<std::optional<KernelTable>, kIsaCount>;

Tables build_tables() {
  std::array<KernelTable, kIsaCount> own = {};
#define WBCQ_GEMM_KERNEL(isa, object) own[index_of(Isa::k##isa)].gemm = &object;
#include "kernels/gemm/kernels.inc"
#define WBCQ_WINOGRAD_KERNEL(isa, object) own[index_of(Isa::k##isa)].winograd = &object;
#include "kernels/winograd/kernels.inc"
#define WBCQ_SPARSE_KERNEL(isa, object) own[index_of(Isa::k##isa)].sparse = &object;
#include "kernels/sparse/kernels.inc"
#define WBCQ_POOL_KERNELS(isa, object) own[index_of(Isa::k##isa)].pool = &object;
#include "kernels/pool/kernels.inc"
#define WBCQ_ELEMENTWISE_KERNELS(isa, object) own[index_of(Isa::k##isa)].elementwise = &object;
#include "kernels/elementwise/kernels.inc"
#define WBCQ_CONVERT_KERNELS(isa, object) own[index_of(Isa::k##isa)].convert = &object;
#include "kernels/convert/kernels.inc"
#define WBCQ_LOOKUP_KERNELS(isa, object) own[index_of(Isa::k##isa)].lookup = &object;
#include "kernels/lookup/kernels.inc"
#define WBCQ_RESIZE_KERNELS(isa, object) own[index_of(Isa::k##isa)].resize = &object;
#include "kernels/resize/kernels.inc"
#define WBCQ_ELEMENTWISE_F32_KERNELS(isa, object) \
  own[index_of(Isa::k##isa)].elementwise_f32 = &object;
#include "kernels/elementwise_f32/kernels.inc"
#define WBCQ_POOL_F32_KERNELS(isa, object) own[index_of(Isa::k##isa)].pool_f32 = &object;
#include "kernels/pool_f32/kernels.inc"
#define WBCQ_GEMM_F32_KERNEL(isa, object) own[index_of(Isa::k##isa)].gemm_f32 = &object;
#include "kernels/gemm_f32/kernels.inc"
#define WBCQ_DWCONV_F32_KERNEL(isa, object) own[index_of(Isa::k##isa)].dwconv_f32 = &object;
#include "kernels/dwconv_f32/kernels.inc"
#define WBCQ_STEM_KERNEL(isa, object) own[index_of(Isa::k##isa)].stem = &object;
#include "kernels/stem/kernels.inc"

  static std::array<std::vector<const DwconvKernel*>, kIsaCount> dwconv;
  Tables tables;
  KernelTable best = {};
  for (Isa isa : kCompiledIsas) {
    const KernelTable& table = own[index_of(isa)];
    best.isa = isa;
    if (table.gemm != nullptr) best.gemm = table.gemm;
    if (table.winograd != nullptr) best.winograd = table.winograd;
    if (table.sparse != nullptr) best.sparse = table.sparse;
    if (table.pool != nullptr) best.pool = table.pool;
    if (table.elementwise != nullptr) best.elementwise = table.elementwise;
    if (table.convert != nullptr) best.convert = table.convert;
    if (table.lookup != nullptr) best.lookup = table.lookup;
    if (table.resize != nullptr) best.resize = table.resize;
    if (table.elementwise_f32 != nullptr) best.elementwise_f32 = table.elementwise_f32;
    if (table.pool_f32 != nullptr) best.pool_f32 = table.pool_f32;
    if (table.gemm_f32 != nullptr) best.gemm_f32 = table.gemm_f32;
    if (table.dwconv_f32 != nullptr) best.dwconv_f32 = table.dwconv_f32;
    best.stem = table.stem;
    best.dwconv = dwconv[index_of(isa)] = dwconv_kernels_up_to(isa);
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

const DwconvKernel& find_dwconv(const KernelTable& table, const DwconvGeometry& geometry,
                                DwconvOutput output) {
  const auto fits = [&](const DwconvKernel* kernel) {
    const DwconvRowFn run = output == DwconvOutput::kU8 ? kernel->run_u8 : kernel->run_f32;
    return run != nullptr && kernel->supports(geometry);
  };
  return **std::find_if(table.dwconv.begin(), table.dwconv.end(), fits);
}

}  // namespace wbcq
