// The kernels of one ISA. The engine asks for a table once, when a model is loaded.
#ifndef WBCQ_KERNELS_KERNEL_TABLE_H_
#define WBCQ_KERNELS_KERNEL_TABLE_H_

#include "cpu/isa.h"
#include "kernels/convert/convert.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/gemm/gemm.h"
#include "kernels/pool/pool.h"

namespace wbcq {

// An ISA without a kernel of its own for a family uses the next lower one's: every entry is set.
struct KernelTable {
  Isa isa;
  const GemmKernel* gemm;
  const PoolKernels* pool;
  const ElementwiseKernels* elementwise;
  const ConvertKernels* convert;
};

// The table of an ISA that this build was compiled for; null when it was not (for example kNeon on
// x86). Does not look at the CPU: see isa_supported().
const KernelTable* kernel_table(Isa isa);

}  // namespace wbcq

#endif  // WBCQ_KERNELS_KERNEL_TABLE_H_
