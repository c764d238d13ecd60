// Every kernel of kernels.inc that this CPU can run, bit for bit against direct convolution.
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "cpu/isa.h"
#include "kernels/winograd/winograd_case.h"

namespace wbcq {

#define WBCQ_WINOGRAD_KERNEL(isa, object) extern const WinogradKernel object;
#include "kernels/winograd/kernels.inc"

namespace {

using testing::Random;
using testing::Residual;
using testing::WinogradCase;

using Entry = std::pair<Isa, const WinogradKernel*>;

std::vector<Entry> runnable_kernels() {
  std::vector<Entry> kernels;
#define WBCQ_WINOGRAD_KERNEL(isa, object) \
  if (isa_supported(Isa::k##isa)) kernels.emplace_back(Isa::k##isa, &object);
#include "kernels/winograd/kernels.inc"
  return kernels;
}

class WinogradKernelTest : public ::testing::TestWithParam<Entry> {
 protected:
  const WinogradKernel& kernel() const { return *GetParam().second; }

  void check(const WinogradCase& c) { testing::check(kernel(), c, random_); }
  size_t up_to(size_t most) {
    return static_cast<size_t>(random_.uniform(1, static_cast<int64_t>(most)));
  }
  Residual any_residual() { return static_cast<Residual>(random_.uniform(0, 2)); }

  Random random_;
};

INSTANTIATE_TEST_SUITE_P(Kernels, WinogradKernelTest, ::testing::ValuesIn(runnable_kernels()),
                         [](const auto& entry) {
                           return std::string(isa_name(entry.param.first));
                         });

TEST_P(WinogradKernelTest, EveryNumberOfTilesAndColumns) {
  for (size_t tiles = 1; tiles <= kernel().mr; ++tiles) {
    for (size_t cols = 1; cols <= kernel().nr; ++cols) {
      WinogradCase c;
      c.tiles = tiles;
      c.cols = cols;
      c.channels = up_to(5);
      c.residual = any_residual();
      check(c);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(WinogradKernelTest, EveryRemainderOfChannels) {
  for (size_t channels = 1; channels <= 2 * kernel().channel_run + 1; ++channels) {
    WinogradCase c;
    c.tiles = up_to(kernel().mr);
    c.cols = up_to(kernel().nr);
    c.channels = channels;
    c.residual = any_residual();
    check(c);
    if (HasFatalFailure()) return;
  }
}

TEST_P(WinogradKernelTest, PositionsOneByOneAndLaterPanels) {
  for (size_t positions : {1, 5, 36}) {
    for (size_t panel : {0, 1, 2}) {
      WinogradCase c;
      c.tiles = kernel().mr;
      c.cols = up_to(kernel().nr);
      c.channels = up_to(70);
      c.panel = panel;
      c.positions = positions;
      check(c);
      if (HasFatalFailure()) return;
    }
  }
}

// The largest and smallest values of V and U, at each of the 36 positions.
TEST_P(WinogradKernelTest, ExtremesOfTheTransforms) {
  static constexpr int kBt[6][6] = {{4, 0, -5, 0, 1, 0},  {0, -4, -4, 1, 1, 0},
                                    {0, 4, -4, -1, 1, 0}, {0, -2, -1, 2, 1, 0},
                                    {0, 2, -1, -2, 1, 0}, {0, 4, 0, -5, 0, 1}};
  static constexpr int kG[6][3] = {{6, 0, 0}, {-1, -1, -1}, {-1, 1, -1},
                                   {1, 2, 4}, {1, -2, 4},   {0, 0, 6}};
  for (size_t position = 0; position < kWinogradPositions; ++position) {
    const size_t i = position / 6, j = position % 6;
    for (const int sign : {1, -1}) {
      for (const int weight : {127, -127}) {
        WinogradCase c;
        c.tiles = up_to(kernel().mr);
        c.cols = up_to(kernel().nr);
        c.channels = 100;
        c.input_zero_point = random_.one_in(2) ? 0 : 255;
        c.activation = [=](size_t y, size_t x) {
          return static_cast<uint8_t>(sign * kBt[i][y] * kBt[j][x] > 0 ? 255 : 0);
        };
        c.weight = [=](size_t y, size_t x) {
          return static_cast<int8_t>(kG[i][y] * kG[j][x] >= 0 ? weight : -weight);
        };
        check(c);
        if (HasFatalFailure()) return;
      }
    }
  }
}

// Accumulators as large as winograd_is_exact() allows: products and sums wrap around within.
TEST_P(WinogradKernelTest, ConstantExtremes) {
  for (const int activation : {0, 255}) {
    for (const int weight : {127, -127}) {
      for (const int32_t zero_point : {0, 255}) {
        WinogradCase c;
        c.tiles = up_to(kernel().mr);
        c.cols = kernel().nr;
        c.channels = 115;  // 115 * 9 * 127 * 255 is just below 2^25
        c.input_zero_point = zero_point;
        c.residual = any_residual();
        c.activation = [=](size_t, size_t) { return static_cast<uint8_t>(activation); };
        c.weight = [=](size_t, size_t) { return static_cast<int8_t>(weight); };
        check(c);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(WinogradKernelTest, ZeroPointsAndBounds) {
  for (int i = 0; i < 60; ++i) {
    WinogradCase c;
    c.tiles = up_to(kernel().mr);
    c.cols = up_to(kernel().nr);
    c.channels = up_to(40);
    c.residual = any_residual();
    c.input_zero_point = static_cast<int32_t>(random_.uniform(0, 255));
    c.zero_point = static_cast<int32_t>(255 * random_.uniform(0, 1));
    c.lo = static_cast<int32_t>(random_.uniform(0, 255));
    c.hi = static_cast<int32_t>(random_.uniform(c.lo, 255));
    check(c);
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace wbcq
