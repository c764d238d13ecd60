// Every FP32 depthwise kernel of this build that the CPU can run, against sums in binary64.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "cpu/isa.h"
#include "kernels/dwconv_f32/dwconv_f32.h"
#include "kernels/dwconv_f32/pack.h"
#include "support/guarded_buffer.h"
#include "support/random.h"

namespace wbcq {

#define WBCQ_DWCONV_F32_KERNEL(isa, object) extern const DwconvF32Kernel object;
#include "kernels/dwconv_f32/kernels.inc"

namespace {

using testing::GuardedBuffer;
using testing::Random;

struct Candidate {
  Isa isa;
  const DwconvF32Kernel* kernel;
};

const Candidate kCandidates[] = {
#define WBCQ_DWCONV_F32_KERNEL(isa, object) {Isa::k##isa, &object},
#include "kernels/dwconv_f32/kernels.inc"
};

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// kernel_h, kernel_w, stride_w, dilation_w
constexpr DwconvGeometry kGeometries[] = {
    {3, 3, 1, 1}, {3, 3, 2, 1}, {5, 5, 1, 1}, {5, 5, 2, 1}, {3, 3, 1, 2}, {3, 3, 2, 3},
    {7, 7, 1, 1}, {1, 1, 1, 1}, {1, 3, 1, 1}, {3, 1, 1, 1}, {2, 2, 2, 1}, {4, 4, 3, 1},
};

struct Shape {
  DwconvGeometry geometry;
  size_t channels;
  size_t width;
  size_t in_width;
  ptrdiff_t first_column;
};

// Padding on both sides as a "same" convolution has it.
Shape same_padding(const DwconvGeometry& g, size_t channels, size_t width) {
  const size_t window = g.dilation_w * (g.kernel_w - 1);
  const size_t reach = (width - 1) * g.stride_w + window + 1;
  const size_t pad = window / 2;
  return {g, channels, width, reach > 2 * pad ? reach - 2 * pad : 1, -static_cast<ptrdiff_t>(pad)};
}

class Case {
 public:
  Case(const Shape& shape, Random& random) : shape_(shape), random_(random) {
    const DwconvGeometry& g = shape.geometry;
    pixel_stride_ = shape.channels + static_cast<size_t>(random.uniform(0, 3));
    out_stride_ = shape.channels + static_cast<size_t>(random.uniform(0, 3));
    for (size_t ky = 0; ky < g.kernel_h; ++ky) {
      rows_.push_back(values((shape.in_width - 1) * pixel_stride_ + shape.channels));
    }
    residual_ = values((shape.width - 1) * out_stride_ + shape.channels);
    weights_.resize(shape.channels * g.kernel_h * g.kernel_w);
    for (float& w : weights_) w = random.uniform_float(-1, 1);
    bias_.resize(shape.channels);
    for (float& b : bias_) b = random.uniform_float(-2, 2);
  }

  float& input(size_t ky, size_t column, size_t channel) {
    return (*rows_[ky])[column * pixel_stride_ + channel];
  }
  size_t out_size() const { return residual_->size(); }
  size_t out_stride() const { return out_stride_; }

  void pack(const DwconvF32Kernel& kernel, bool with_bias = true) {
    const DwconvF32PackInput input = {shape_.geometry, shape_.channels, weights_.data(),
                                      with_bias ? bias_.data() : nullptr};
    packed_.emplace(dwconv_f32_packed_bytes(kernel, input));
    dwconv_f32_pack(kernel, input, packed_->data());
    with_bias_ = with_bias;
  }

  // Outputs [x, x + width) of `groups` groups of channels from `group` on.
  void run(const DwconvF32Kernel& kernel, float* out, size_t x, size_t width, size_t group,
           size_t groups) {
    const size_t first = group * kernel.block;
    const size_t channels = std::min(groups * kernel.block, shape_.channels - first);
    GuardedBuffer<float> padding(channels);
    std::fill_n(padding.data(), channels, 0.0f);
    std::vector<const float*> rows;
    for (auto& row : rows_) rows.push_back(row->data() + first);
    DwconvF32Row row = {};
    row.geometry = shape_.geometry;
    row.width = width;
    row.channels = channels;
    row.rows = rows.data();
    row.in_width = shape_.in_width;
    row.pixel_stride = pixel_stride_;
    row.first_column = shape_.first_column + static_cast<ptrdiff_t>(x * shape_.geometry.stride_w);
    row.padding = padding.data();
    row.packed = reinterpret_cast<const float*>(
        packed_->data() + group * dwconv_f32_group_bytes(kernel, shape_.geometry));
    row.out = out + x * out_stride_ + first;
    row.out_stride = out_stride_;
    if (use_residual) row.residual = residual_->data() + x * out_stride_ + first;
    row.residual_stride = out_stride_;
    row.lo = lo;
    row.hi = hi;
    kernel.run(row);
  }
  void run(const DwconvF32Kernel& kernel, float* out) {
    run(kernel, out, 0, shape_.width, 0, shape_.channels);
  }

  void check(const DwconvF32Kernel& kernel) {
    GuardedBuffer<float> out(out_size());
    const std::vector<float> before(out.data(), out.data() + out.size());
    pack(kernel);
    run(kernel, out.data());
    for (size_t i = 0; i < out.size(); ++i) {
      const size_t c = i % out_stride_;
      if (c >= shape_.channels) {
        ASSERT_EQ(std::memcmp(&out[i], &before[i], sizeof(float)), 0) << "gap at " << i;
      } else {
        ASSERT_NO_FATAL_FAILURE(check_output(kernel, i / out_stride_, c, out[i]));
      }
    }
  }

  bool use_residual = false;
  float lo = -kInfinity;
  float hi = kInfinity;

 private:
  std::unique_ptr<GuardedBuffer<float>> values(size_t size) {
    auto buffer = std::make_unique<GuardedBuffer<float>>(size);
    for (size_t i = 0; i < size; ++i) (*buffer)[i] = random_.uniform_float(-1, 1);
    return buffer;
  }

  // Each of the roundings is at most half an ulp of a partial sum, which is at most `magnitude`.
  void check_output(const DwconvF32Kernel& kernel, size_t x, size_t c, float value) {
    const DwconvGeometry& g = shape_.geometry;
    double sum = with_bias_ ? bias_[c] : 0.0;
    double magnitude = std::abs(sum);
    for (size_t ky = 0; ky < g.kernel_h; ++ky) {
      for (size_t kx = 0; kx < g.kernel_w; ++kx) {
        const ptrdiff_t column =
            shape_.first_column + static_cast<ptrdiff_t>(x * g.stride_w + kx * g.dilation_w);
        if (column < 0 || column >= static_cast<ptrdiff_t>(shape_.in_width)) continue;
        const double product =
            static_cast<double>(input(ky, static_cast<size_t>(column), c)) *
            static_cast<double>(weights_[(c * g.kernel_h + ky) * g.kernel_w + kx]);
        sum += product;
        magnitude += std::abs(product);
      }
    }
    if (use_residual) {
      sum += (*residual_)[x * out_stride_ + c];
      magnitude += std::abs((*residual_)[x * out_stride_ + c]);
    }
    const double bound = magnitude * static_cast<double>(2 * g.kernel_h * g.kernel_w + 2) * 0x1p-24;
    ASSERT_NEAR(value, std::clamp<double>(sum, lo, hi), bound)
        << kernel.name << ", " << g.kernel_h << "x" << g.kernel_w << " stride " << g.stride_w
        << " dilation " << g.dilation_w << ", channel " << c << " of " << shape_.channels
        << ", output " << x << " of " << shape_.width << " from column " << shape_.first_column
        << " of " << shape_.in_width;
    ASSERT_GE(value, lo);
    ASSERT_LE(value, hi);
  }

  Shape shape_;
  Random& random_;
  size_t pixel_stride_;
  size_t out_stride_;
  bool with_bias_ = false;
  std::vector<std::unique_ptr<GuardedBuffer<float>>> rows_;
  std::unique_ptr<GuardedBuffer<float>> residual_;
  std::vector<float> weights_;
  std::vector<float> bias_;
  std::optional<GuardedBuffer<std::byte>> packed_;
};

class DwconvF32KernelTest : public ::testing::TestWithParam<Candidate> {
 protected:
  void SetUp() override {
    if (!isa_supported(GetParam().isa)) GTEST_SKIP() << "this CPU cannot run it";
  }
  static const DwconvF32Kernel& kernel() { return *GetParam().kernel; }
};

TEST_P(DwconvF32KernelTest, EveryChannelCount) {
  Random random;
  for (const DwconvGeometry& geometry : kGeometries) {
    for (size_t channels = 1; channels <= 2 * kernel().block + 3; ++channels) {
      Case test(same_padding(geometry, channels, channels % 6 + 1), random);
      test.use_residual = channels % 3 == 0;
      ASSERT_NO_FATAL_FAILURE(test.check(kernel()));
    }
  }
}

TEST_P(DwconvF32KernelTest, EveryWidthAndPadding) {
  Random random;
  for (const DwconvGeometry& geometry : kGeometries) {
    for (size_t width = 1; width <= 15; ++width) {
      Case padded(same_padding(geometry, kernel().block + 3, width), random);
      ASSERT_NO_FATAL_FAILURE(padded.check(kernel()));
      Case narrow(
          {geometry, 5, width, static_cast<size_t>(random.uniform(1, 5)), random.uniform(-7, 3)},
          random);
      ASSERT_NO_FATAL_FAILURE(narrow.check(kernel()));
    }
  }
}

TEST_P(DwconvF32KernelTest, Clamp) {
  Random random;
  for (int repeat = 0; repeat < 20; ++repeat) {
    Case test(same_padding(kGeometries[0], kernel().block + 7, 6), random);
    test.lo = random.uniform_float(-2, 0.5f);
    test.hi = test.lo + (random.one_in(3) ? 0.0f : random.uniform_float(0, 2));
    test.use_residual = random.one_in(2);
    ASSERT_NO_FATAL_FAILURE(test.check(kernel()));
  }
}

// The bits of an output do not depend on the run that it falls into.
TEST_P(DwconvF32KernelTest, RunsAndChannelRangesDoNotMatter) {
  Random random;
  for (const DwconvGeometry& geometry : kGeometries) {
    const size_t channels = 3 * kernel().block + 5;
    constexpr size_t kWidth = 17;
    Case test(same_padding(geometry, channels, kWidth), random);
    test.use_residual = random.one_in(2);
    test.pack(kernel());
    GuardedBuffer<float> whole(test.out_size());
    test.run(kernel(), whole.data());
    GuardedBuffer<float> pieces(test.out_size());
    for (size_t group = 0; group < 4; ++group) {
      for (size_t x = 0; x < kWidth;) {
        const size_t width = std::min<size_t>(random.uniform(1, 6), kWidth - x);
        test.run(kernel(), pieces.data(), x, width, group, 1);
        x += width;
      }
    }
    ASSERT_EQ(std::memcmp(whole.data(), pieces.data(), whole.size() * sizeof(float)), 0)
        << kernel().name;
  }
}

TEST_P(DwconvF32KernelTest, NanAndInfinityPassThrough) {
  Random random;
  const size_t channels = kernel().block + 1;
  Case test(same_padding(kGeometries[0], channels, 4), random);
  test.lo = 0;
  test.hi = 6;
  test.pack(kernel(), false);
  GuardedBuffer<float> out(test.out_size());
  for (size_t channel : {size_t{0}, channels - 1}) {
    test.input(1, 2, channel) = std::numeric_limits<float>::quiet_NaN();
    test.run(kernel(), out.data());
    for (size_t x = 1; x < 4; ++x) {
      EXPECT_TRUE(std::isnan(out[x * test.out_stride() + channel])) << kernel().name;
    }
    test.input(1, 2, channel) = kInfinity;
    test.run(kernel(), out.data());
    for (size_t x = 1; x < 4; ++x) {
      const float value = out[x * test.out_stride() + channel];
      EXPECT_TRUE(value == 0 || value == 6) << kernel().name << " gives " << value;
    }
  }
}

TEST_P(DwconvF32KernelTest, Random) {
  Random random;
  for (int repeat = 0; repeat < 300; ++repeat) {
    const DwconvGeometry geometry = {
        static_cast<size_t>(random.uniform(1, 6)), static_cast<size_t>(random.uniform(1, 6)),
        static_cast<size_t>(random.uniform(1, 3)), static_cast<size_t>(random.uniform(1, 3))};
    Case test({geometry, static_cast<size_t>(random.uniform(1, 90)),
               static_cast<size_t>(random.uniform(1, 12)),
               static_cast<size_t>(random.uniform(1, 20)), random.uniform(-6, 6)},
              random);
    test.use_residual = random.one_in(3);
    ASSERT_NO_FATAL_FAILURE(test.check(kernel()));
  }
}

TEST(DwconvF32PackTest, LayoutOfAGroup) {
  const DwconvF32Kernel kernel = {"", 4, nullptr};
  std::vector<float> weights(6 * 2);
  std::iota(weights.begin(), weights.end(), 1.0f);
  const float bias[] = {-1, -2, -3, -4, -5, -6};
  const DwconvF32PackInput input = {{1, 2, 1, 1}, 6, weights.data(), bias};
  EXPECT_EQ(dwconv_f32_group_bytes(kernel, input.geometry), 64u);
  ASSERT_EQ(dwconv_f32_packed_bytes(kernel, input), 128u);
  std::vector<float> packed(32, 99.0f);
  dwconv_f32_pack(kernel, input, packed.data());
  const std::vector<float> expected = {-1, -2, -3, -4, 1, 3,  5, 7, 2,  4,  6, 8, 0, 0, 0, 0,
                                       -5, -6, 0,  0,  9, 11, 0, 0, 10, 12, 0, 0, 0, 0, 0, 0};
  EXPECT_EQ(packed, expected);
}

std::string name_of(const ::testing::TestParamInfo<Candidate>& info) {
  return info.param.kernel->name;
}

INSTANTIATE_TEST_SUITE_P(Kernels, DwconvF32KernelTest, ::testing::ValuesIn(kCandidates), name_of);

}  // namespace
}  // namespace wbcq
