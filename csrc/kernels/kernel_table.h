// The kernels of one ISA. The engine asks for a table once, when a model is loaded.
#ifndef WBCQ_KERNELS_KERNEL_TABLE_H_
#define WBCQ_KERNELS_KERNEL_TABLE_H_

#include <span>

#include "cpu/isa.h"
#include "kernels/convert/convert.h"
#include "kernels/dwconv/dwconv.h"
#include "kernels/dwconv_f32/dwconv_f32.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/elementwise_f32/elementwise_f32.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm_f32/gemm_f32.h"
#include "kernels/lookup/lookup.h"
#include "kernels/pool/pool.h"
#include "kernels/pool_f32/pool_f32.h"
#include "kernels/resize/resize.h"
#include "kernels/sparse/sparse.h"
#include "kernels/stem/stem.h"
#include "kernels/winograd/winograd.h"

namespace wbcq {

// An ISA without a kernel of its own for a family uses the next lower one's: every entry but
// stem is set.
struct KernelTable {
  Isa isa;
  const GemmKernel* gemm;
  const WinogradKernel* winograd;
  const SparseKernel* sparse;
  const PoolKernels* pool;
  const ElementwiseKernels* elementwise;
  const ConvertKernels* convert;
  const LookupKernels* lookup;
  const ResizeKernels* resize;
  const ElementwiseF32Kernels* elementwise_f32;
  const PoolF32Kernels* pool_f32;
  const GemmF32Kernel* gemm_f32;
  const DwconvF32Kernel* dwconv_f32;
  // Null where there is none of the ISA's own: a GEMM with vectors beats a lower ISA's stem.
  const StemKernel* stem;
  // Those of lower ISAs as well, the fastest first; see find_dwconv().
  std::span<const DwconvKernel* const> dwconv;
};

enum class DwconvOutput { kU8, kF32 };

// The fastest kernel of a table for a geometry and an output: there always is one.
const DwconvKernel& find_dwconv(const KernelTable& table, const DwconvGeometry& geometry,
                                DwconvOutput output);

// The table of an ISA that this build was compiled for; null when it was not (for example kNeon on
// x86). Does not look at the CPU: see isa_supported().
const KernelTable* kernel_table(Isa isa);

}  // namespace wbcq

#endif  // WBCQ_KERNELS_KERNEL_TABLE_H_
