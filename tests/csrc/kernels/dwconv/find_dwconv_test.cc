#include <gtest/gtest.h>

#include "kernels/kernel_table.h"

namespace wbcq {

#define WBCQ_DWCONV_KERNEL(isa, object) extern const DwconvKernel object;
#include "kernels/dwconv/kernels.inc"

namespace {

TEST(FindDwconvTest, ThereIsAKernelForEveryGeometryAndOutput) {
  for (Isa isa : supported_isas()) {
    for (size_t kernel : {1, 3, 5, 7, 64}) {
      for (size_t stride : {1, 2, 3}) {
        const DwconvGeometry geometry = {kernel, kernel, stride, 1};
        const DwconvKernel& u8 = find_dwconv(*kernel_table(isa), geometry, DwconvOutput::kU8);
        EXPECT_TRUE(u8.supports(geometry)) << u8.name;
        EXPECT_NE(u8.run_u8, nullptr) << u8.name;
        const DwconvKernel& f32 = find_dwconv(*kernel_table(isa), geometry, DwconvOutput::kF32);
        EXPECT_TRUE(f32.supports(geometry)) << f32.name;
        EXPECT_NE(f32.run_f32, nullptr) << f32.name;
      }
    }
  }
}

// A kernel that nothing can choose is a mistake in kernels.inc's order.
TEST(FindDwconvTest, EveryKernelOfTheRegistryIsChosenForSomeGeometry) {
  const auto chosen = [](Isa isa, const DwconvKernel* kernel) {
    for (size_t h = 1; h <= 7; ++h) {
      for (size_t w = 1; w <= 7; ++w) {
        for (size_t stride = 1; stride <= 3; ++stride) {
          const KernelTable* table = kernel_table(isa);
          if (&find_dwconv(*table, {h, w, stride, 1}, DwconvOutput::kU8) == kernel) return true;
        }
      }
    }
    return false;
  };
#define WBCQ_DWCONV_KERNEL(isa, object) EXPECT_TRUE(chosen(Isa::k##isa, &object)) << object.name;
#include "kernels/dwconv/kernels.inc"
}

}  // namespace
}  // namespace wbcq
