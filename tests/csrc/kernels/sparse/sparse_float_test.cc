// Every kernel of kernels.inc that this CPU can run, in float: bit for bit the sum in the order of
// the lists.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "base/aligned_buffer.h"
#include "cpu/isa.h"
#include "kernels/sparse/sparse.h"
#include "support/random.h"

namespace wbcq {

#define WBCQ_SPARSE_KERNEL(isa, object) extern const SparseKernel object;
#include "kernels/sparse/kernels.inc"

namespace {

using testing::Random;

using Entry = std::pair<Isa, const SparseKernel*>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<Entry> runnable_kernels() {
  std::vector<Entry> kernels;
#define WBCQ_SPARSE_KERNEL(isa, object) \
  if (isa_supported(Isa::k##isa)) kernels.emplace_back(Isa::k##isa, &object);
#include "kernels/sparse/kernels.inc"
  return kernels;
}

class SparseFloatKernelTest : public ::testing::TestWithParam<Entry> {
 protected:
  const SparseKernel& kernel() const { return *GetParam().second; }

  float drawn() { return random_.uniform_float(-2, 2); }
  float* fill(AlignedBuffer& buffer, size_t count) {
    auto result = AlignedBuffer::allocate(count * sizeof(float), "a test's buffer");
    buffer = std::move(result).value();
    for (size_t i = 0; i < count; ++i) buffer.as<float>()[i] = drawn();
    return buffer.as<float>();
  }

  // The scalar kernel rounds each product, the others fuse it with its addition.
  float add_product(float sum, float x, float w) const {
    if (GetParam().first != Isa::kScalar) return std::fma(x, w, sum);
    const volatile float product = x * w;
    return sum + product;
  }

  std::vector<uint8_t> draw_outputs(size_t count, size_t block) {
    std::vector<size_t> firsts;
    for (size_t o = 0; o < count; o += block) firsts.push_back(o);
    std::shuffle(firsts.begin(), firsts.end(), random_.engine());
    std::vector<uint8_t> outputs;
    for (const size_t first : firsts) {
      for (size_t o = first; o < first + block; ++o) outputs.push_back(static_cast<uint8_t>(o));
    }
    return outputs;
  }

  void check(size_t form, size_t pixels, size_t groups, size_t depth, size_t parts,
             bool has_residual) {
    SCOPED_TRACE(::testing::Message()
                 << "form " << form << ", " << pixels << " pixels, " << groups << " groups, depth "
                 << depth << ", " << parts << " parts, residual " << has_residual);
    const size_t row = kernel().pixels;
    const size_t count = groups * kSparseGroup;
    AlignedBuffer memory[4];
    const float* lhs = fill(memory[0], parts * depth * row);
    const float* bias = fill(memory[1], count);
    const float* residual = fill(memory[2], count * row);
    float* sums = fill(memory[3], count * row);
    std::vector<float> expected(count * row);
    for (size_t i = 0; i < expected.size(); ++i) expected[i] = bias[i / row];

    SparseFloatTile tile = {};
    tile.pixels = pixels;
    tile.groups = groups;
    tile.bias = bias;
    tile.sums = sums;
    tile.residual = has_residual ? residual : nullptr;
    tile.lo = random_.one_in(2) ? -kInfinity : random_.uniform_float(-1, 0);
    tile.hi = random_.one_in(2) ? kInfinity : random_.uniform_float(0, 1);
    for (size_t part = 0; part < parts; ++part) {
      const size_t per_block = kSparseOutputs[form];
      const std::vector<uint8_t> outputs = draw_outputs(count, per_block);
      std::vector<int32_t> blocks;
      std::vector<uint32_t> counts;
      tile.lhs = lhs + part * depth * row;
      for (size_t group = 0; group < groups; ++group) {
        counts.push_back(static_cast<uint32_t>(random_.one_in(4) ? 0 : random_.uniform(1, 30)));
        for (uint32_t step = 0; step < counts.back(); ++step) {
          uint16_t rows[kSparseGroup] = {};
          float weights[kSparseGroup];
          for (size_t o = 0; o < kSparseGroup; ++o) {
            uint16_t& own = rows[o / per_block];
            if (o % per_block == 0) {
              own = static_cast<uint16_t>(random_.uniform(0, static_cast<int64_t>(depth) - 1));
            }
            weights[o] = random_.one_in(5) ? 0 : drawn();
            const size_t output = outputs[group * kSparseGroup + o];
            for (size_t p = 0; p < pixels; ++p) {
              float& sum = expected[output * row + p];
              sum = add_product(sum, tile.lhs[own * row + p], weights[o]);
            }
          }
          const size_t at = blocks.size();
          const size_t row_dwords = kSparseStepDwords[form] - kSparseGroup;
          blocks.resize(at + kSparseStepDwords[form]);
          std::memcpy(blocks.data() + at, rows, row_dwords * sizeof(int32_t));
          std::memcpy(blocks.data() + at + row_dwords, weights, sizeof(weights));
        }
      }
      tile.outputs = outputs.data();
      tile.counts = counts.data();
      tile.blocks = blocks.data();
      tile.first = part == 0;
      tile.last = part + 1 == parts;
      kernel().run_float[form](tile);
    }
    for (size_t o = 0; o < count; ++o) {
      for (size_t p = o * row; p < o * row + pixels; ++p) {
        const float sum = has_residual ? expected[p] + residual[p] : expected[p];
        ASSERT_EQ(sums[p], std::clamp(sum, tile.lo, tile.hi)) << "output " << o << ", at " << p;
      }
    }
  }

  Random random_;
};

INSTANTIATE_TEST_SUITE_P(Kernels, SparseFloatKernelTest, ::testing::ValuesIn(runnable_kernels()),
                         [](const auto& entry) {
                           return std::string(isa_name(entry.param.first));
                         });

TEST_P(SparseFloatKernelTest, EveryNumberOfPixels) {
  for (size_t form = 0; form < kSparseForms; ++form) {
    for (size_t pixels = 1; pixels <= kernel().pixels; ++pixels) {
      check(form, pixels, 3, 9, 1, random_.one_in(2));
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(SparseFloatKernelTest, PartsOfTheDepth) {
  for (int i = 0; i < 100; ++i) {
    check(static_cast<size_t>(random_.uniform(0, kSparseForms - 1)),
          static_cast<size_t>(random_.uniform(1, static_cast<int64_t>(kernel().pixels))),
          static_cast<size_t>(random_.uniform(1, 16)), static_cast<size_t>(random_.uniform(1, 40)),
          static_cast<size_t>(random_.uniform(1, 4)), random_.one_in(2));
    if (HasFatalFailure()) return;
  }
}

// The clamp lets NaN through, as that of kernels/gemm_f32 does.
TEST_P(SparseFloatKernelTest, NanPassesTheClamp) {
  const size_t row = kernel().pixels;
  AlignedBuffer memory[3];
  float* lhs = fill(memory[0], row);
  float* bias = fill(memory[1], kSparseGroup);
  float* sums = fill(memory[2], kSparseGroup * row);
  lhs[0] = std::numeric_limits<float>::quiet_NaN();
  const uint8_t outputs[] = {0, 1, 2, 3};
  const uint32_t count = 1;
  int32_t blocks[kSparseStepDwords[0]] = {};
  const float weights[] = {1, -1, 2, 3};
  for (size_t form = 0; form < kSparseForms; ++form) {
    std::memcpy(blocks + kSparseStepDwords[form] - kSparseGroup, weights, sizeof(weights));
    kernel().run_float[form](
        {row, 1, outputs, &count, blocks, lhs, bias, true, true, sums, nullptr, 0, 6});
    for (size_t o = 0; o < kSparseGroup; ++o) {
      EXPECT_TRUE(std::isnan(sums[o * row]));
      EXPECT_FALSE(std::isnan(sums[o * row + 1]));
    }
  }
}

}  // namespace
}  // namespace wbcq
