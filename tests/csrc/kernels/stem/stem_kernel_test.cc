// Every kernel of kernels.inc that this CPU can run, bit for bit against the definition.
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "cpu/isa.h"
#include "kernels/stem/pack.h"
#include "kernels/stem/stem.h"
#include "support/expected.h"
#include "support/guarded_buffer.h"
#include "support/random.h"

namespace wbcq {

#define WBCQ_STEM_KERNEL(isa, object) extern const StemKernel object;
#include "kernels/stem/kernels.inc"

namespace {

using testing::expected_product;
using testing::expected_round_clamp;
using testing::GuardedBuffer;
using testing::Random;

constexpr size_t kTaps = 27;

using Entry = std::pair<Isa, const StemKernel*>;

std::vector<Entry> runnable_kernels() {
  std::vector<Entry> kernels;
#define WBCQ_STEM_KERNEL(isa, object) \
  if (isa_supported(Isa::k##isa)) kernels.emplace_back(Isa::k##isa, &object);
#include "kernels/stem/kernels.inc"
  return kernels;
}

enum class Values { kRandom, kExtreme };

class StemKernelTest : public ::testing::TestWithParam<Entry> {
 protected:
  const StemKernel& kernel() const { return *GetParam().second; }

  // Rows end at unreadable pages, and so does the output.
  void check(size_t stride, size_t width, size_t channels, Values values) {
    SCOPED_TRACE(::testing::Message() << "stride " << stride << ", " << width << " outputs, "
                                      << channels << " channels");
    const auto drawn = [&](int64_t lo, int64_t hi) {
      if (values == Values::kExtreme) return random_.one_in(2) ? lo : hi;
      return random_.uniform(lo, hi);
    };
    const size_t row_bytes = ((width - 1) * stride + 3) * kStemChannels;
    GuardedBuffer<uint8_t> rows[3] = {GuardedBuffer<uint8_t>(row_bytes),
                                      GuardedBuffer<uint8_t>(row_bytes),
                                      GuardedBuffer<uint8_t>(row_bytes)};
    for (auto& row : rows) {
      for (size_t i = 0; i < row_bytes; ++i) row[i] = static_cast<uint8_t>(drawn(0, 255));
    }
    std::vector<int8_t> weights(channels * kTaps);
    for (int8_t& w : weights) w = static_cast<int8_t>(drawn(-128, 127));
    std::vector<int32_t> bias(channels);
    for (int32_t& b : bias) b = static_cast<int32_t>(random_.uniform(-20000, 20000));
    std::vector<float> multipliers(channels);
    for (float& m : multipliers) m = random_.uniform_float(-0.004f, 0.004f);
    const auto zero_point = static_cast<int32_t>(drawn(0, 255));

    std::vector<StemPackedBlock> packed(channels / kStemBlock);
    StemPackInput pack = {};
    pack.channels = channels;
    pack.zero_point = zero_point;
    pack.weights = weights.data();
    pack.bias = bias.data();
    pack.multipliers = multipliers.data();
    stem_pack(pack, packed.data());

    GuardedBuffer<uint8_t> out(width * channels);
    StemRow row = {};
    row.stride = stride;
    row.width = width;
    row.channels = channels;
    for (size_t ky = 0; ky < 3; ++ky) row.rows[ky] = rows[ky].data();
    row.packed = packed.data();
    row.out = out.data();
    row.zero_point = static_cast<int32_t>(drawn(0, 255));
    row.lo = static_cast<int32_t>(random_.one_in(2) ? 0 : random_.uniform(0, 128));
    row.hi = static_cast<int32_t>(random_.one_in(2) ? 255 : random_.uniform(128, 255));
    kernel().run(row);

    for (size_t x = 0; x < width; ++x) {
      for (size_t c = 0; c < channels; ++c) {
        int64_t acc = bias[c];
        for (size_t tap = 0; tap < kTaps; ++tap) {
          const uint8_t pixel = rows[tap / 9][x * stride * kStemChannels + tap % 9];
          acc += int64_t{weights[c * kTaps + tap]} * (pixel - zero_point);
        }
        const float value = expected_product(static_cast<float>(acc), multipliers[c]);
        ASSERT_EQ(out[x * channels + c],
                  expected_round_clamp(value, row.zero_point, row.lo, row.hi))
            << "output " << x << ", channel " << c;
      }
    }
  }

  Random random_;
};

INSTANTIATE_TEST_SUITE_P(Kernels, StemKernelTest, ::testing::ValuesIn(runnable_kernels()),
                         [](const auto& entry) {
                           return std::string(isa_name(entry.param.first));
                         });

TEST_P(StemKernelTest, EveryWidthAndNumberOfChannels) {
  for (size_t stride : {1, 2}) {
    for (size_t blocks = 1; blocks <= kStemMaxBlocks; ++blocks) {
      for (size_t width = kernel().least_width; width <= kernel().least_width + 33; ++width) {
        check(stride, width, blocks * kStemBlock, Values::kRandom);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(StemKernelTest, Extremes) {
  for (int i = 0; i < 200; ++i) {
    check(1 + i % 2, kernel().least_width + static_cast<size_t>(random_.uniform(0, 20)),
          kStemBlock * static_cast<size_t>(random_.uniform(1, kStemMaxBlocks)), Values::kExtreme);
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace wbcq
