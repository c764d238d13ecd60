#include "kernels/kernel_table.h"

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <string_view>

namespace wbcq {

#define WBCQ_GEMM_KERNEL(isa, object) extern const GemmKernel object;
#include "kernels/gemm/kernels.inc"
#define WBCQ_WINOGRAD_KERNEL(isa, object) extern const WinogradKernel object;
#include "kernels/winograd/kernels.inc"

namespace {

constexpr Isa kAllIsas[] = {Isa::kScalar, Isa::kAvx2,    Isa::kAvx512Vnni,
                            Isa::kNeon,   Isa::kNeonDot, Isa::kNeonI8mm};

TEST(KernelTableTest, EverySupportedIsaHasACompleteTable) {
  for (Isa isa : supported_isas()) {
    SCOPED_TRACE(isa_name(isa));
    const KernelTable* table = kernel_table(isa);
    ASSERT_NE(table, nullptr);
    EXPECT_EQ(table->isa, isa);
    EXPECT_NE(table->gemm, nullptr);
    EXPECT_NE(table->winograd, nullptr);
    EXPECT_NE(table->pool, nullptr);
    EXPECT_NE(table->elementwise, nullptr);
    EXPECT_NE(table->convert, nullptr);
    EXPECT_NE(table->lookup, nullptr);
    EXPECT_NE(table->resize, nullptr);
    EXPECT_NE(table->elementwise_f32, nullptr);
    EXPECT_NE(table->pool_f32, nullptr);
    EXPECT_EQ(table, kernel_table(isa));
  }
}

TEST(KernelTableTest, OtherArchitecturesHaveNone) {
#if defined(__x86_64__)
  for (Isa isa : {Isa::kNeon, Isa::kNeonDot, Isa::kNeonI8mm}) EXPECT_EQ(kernel_table(isa), nullptr);
#elif defined(__aarch64__)
  for (Isa isa : {Isa::kAvx2, Isa::kAvx512Vnni}) EXPECT_EQ(kernel_table(isa), nullptr);
#endif
  EXPECT_EQ(kernel_table(static_cast<Isa>(99)), nullptr);
}

// A line of kernels.inc must end up in the table of the ISA that it names.
TEST(KernelTableTest, HoldsTheKernelsOfTheRegistry) {
#define WBCQ_GEMM_KERNEL(isa, object) EXPECT_EQ(kernel_table(Isa::k##isa)->gemm, &object);
#include "kernels/gemm/kernels.inc"
#define WBCQ_WINOGRAD_KERNEL(isa, object) EXPECT_EQ(kernel_table(Isa::k##isa)->winograd, &object);
#include "kernels/winograd/kernels.inc"
}

// Kernel names end with their source file's name, so a profile says what ran.
TEST(KernelTableTest, KernelsAreNamedAfterTheirIsa) {
  for (Isa isa : kAllIsas) {
    const KernelTable* table = kernel_table(isa);
    if (table == nullptr || isa == Isa::kScalar) continue;
    const std::string_view name = table->gemm->name;
    EXPECT_TRUE(name.ends_with(std::string("_").append(isa_name(isa)))) << name;
  }
}

TEST(KernelTableTest, GemmGeometryIsPartOfTheName) {
  for (Isa isa : kAllIsas) {
    const KernelTable* table = kernel_table(isa);
    if (table == nullptr) continue;
    const GemmKernel& gemm = *table->gemm;
    std::ostringstream tile;
    tile << "_" << gemm.mr << "x" << gemm.nr << "c" << gemm.kr << "_";
    EXPECT_NE(std::string_view(gemm.name).find(tile.str()), std::string_view::npos) << gemm.name;
    EXPECT_TRUE(gemm.lhs_offset == 0 || gemm.lhs_offset == 128) << gemm.name;
    EXPECT_NE(gemm.run_u8, nullptr);
    EXPECT_NE(gemm.run_f32, nullptr);
  }
}

}  // namespace
}  // namespace wbcq
