#include <cstring>
#include <limits>
#include <vector>

#include "kernels/elementwise_f32/elementwise_f32_case.h"
#include "support/pixel_buffer.h"
#include "support/random.h"

namespace wbcq::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

UnaryF32 arguments(const UnaryCase& c, const float* in, float* out, size_t size) {
  return {c.function, c.p0, c.p1, 1, size, in, size, out, size};
}

double slope(const UnaryCase& c, double x) {
  const double step = 1e-6 * std::max(std::abs(x), 1e-3);
  return (exact_unary(c, x + step) - exact_unary(c, x - step)) / (2 * step);
}

double tolerance(const UnaryCase& c, double x, double exact) {
  const double unit = 0x1p-23;
  // Below this a quotient x / (1 + exp(-x)) vanishes, as the exponential is infinite.
  const bool quotient = c.ulps > 0 && c.function != UnaryFunction::kExp;
  const double vanishing = quotient ? 3e-37 : c.ulps * 0x1p-149;
  double allowed = vanishing + c.ulps * unit * std::abs(exact);
  if (c.input_ulps != 0) allowed += c.input_ulps * unit * std::abs(x * slope(c, x));
  return allowed;
}

class UnaryF32Test : public ElementwiseF32Test {
 protected:
  static void check(const UnaryCase& c, const std::vector<float>& x) {
    std::vector<float> y(x.size());
    kernels().unary(arguments(c, x.data(), y.data(), x.size()));
    for (size_t i = 0; i < x.size(); ++i) {
      const double exact = exact_unary(c, x[i]);
      if (std::abs(exact) > std::numeric_limits<float>::max()) {
        ASSERT_EQ(y[i], exact < 0 ? -kInfinity : kInfinity) << "x " << x[i];
      } else {
        ASSERT_NEAR(y[i], exact, tolerance(c, x[i], exact))
            << "function " << static_cast<int>(c.function) << " of " << x[i];
      }
    }
  }
};

TEST_P(UnaryF32Test, IsClose) {
  Random random;
  for (const UnaryCase& c : kUnaryCases) {
    std::vector<float> x;
    for (double range : {1e-3, 1.0, 3.0, 10.0, 100.0, 1e4}) {
      const float lowest = static_cast<float>(std::max(-range, c.lowest));
      for (int i = 0; i < 3001; ++i) {
        x.push_back(random.uniform_float(lowest, static_cast<float>(range)));
      }
    }
    ASSERT_NO_FATAL_FAILURE(check(c, x));
  }
}

// Where the exponential leaves the normal numbers, and the corners of the piecewise functions.
TEST_P(UnaryF32Test, IsCloseAtCorners) {
  for (const UnaryCase& c : kUnaryCases) {
    std::vector<float> x;
    for (float corner :
         {-103.97f, -103.28f, -88.73f, -87.34f, -20.0f, -6.0f, -3.0f, -0.34657f, 0.0f, 0.34657f,
          0.75f, 3.0f, 6.0f, 20.0f, 87.34f, 88.72f, 88.73f, 104.0f}) {
      for (float near :
           {std::nextafter(corner, -kInfinity), corner, std::nextafter(corner, kInfinity)}) {
        if (near >= c.lowest &&
            !(c.function == UnaryFunction::kReciprocal && std::abs(near) < 0.1f)) {
          x.push_back(near);
        }
      }
    }
    ASSERT_NO_FATAL_FAILURE(check(c, x));
  }
}

TEST_P(UnaryF32Test, NanStaysNan) {
  const std::vector<float> x(21, std::numeric_limits<float>::quiet_NaN());
  for (const UnaryCase& c : kUnaryCases) {
    std::vector<float> y(x.size());
    kernels().unary(arguments(c, x.data(), y.data(), x.size()));
    for (float value : y) {
      ASSERT_TRUE(std::isnan(value)) << "function " << static_cast<int>(c.function);
    }
  }
}

TEST_P(UnaryF32Test, Infinities) {
  const float in[2] = {-kInfinity, kInfinity};
  const auto run = [&](UnaryFunction function) {
    std::vector<float> y(2);
    kernels().unary({function, 0.5f, 20.0f, 1, 2, in, 2, y.data(), 2});
    return y;
  };
  EXPECT_EQ(run(UnaryFunction::kExp), (std::vector<float>{0, kInfinity}));
  EXPECT_EQ(run(UnaryFunction::kSigmoid), (std::vector<float>{0, 1}));
  EXPECT_EQ(run(UnaryFunction::kTanh), (std::vector<float>{-1, 1}));
  EXPECT_EQ(run(UnaryFunction::kRelu6), (std::vector<float>{0, 6}));
  EXPECT_EQ(run(UnaryFunction::kElu), (std::vector<float>{-0.5f, kInfinity}));
  for (UnaryFunction function : {UnaryFunction::kSilu, UnaryFunction::kGelu,
                                 UnaryFunction::kGeluTanh, UnaryFunction::kMish}) {
    EXPECT_EQ(run(function)[1], kInfinity) << static_cast<int>(function);
  }
}

// Bit for bit what the element gives alone, at every position, at strides and in place.
TEST_P(UnaryF32Test, DependsOnTheElementAlone) {
  Random random;
  for (const UnaryCase& c : kUnaryCases) {
    for (size_t channels : {size_t{0}, size_t{1}, size_t{2}, size_t{3}, size_t{5}, size_t{7},
                            size_t{8}, size_t{9}, size_t{15}, size_t{16}, size_t{17}, size_t{37}}) {
      for (size_t gap : {size_t{0}, size_t{3}}) {
        PixelBuffer<float> in(3, channels, channels + gap);
        PixelBuffer<float> out(3, channels, channels + 2 * gap);
        const float lowest = static_cast<float>(std::max(c.lowest, -5.0));
        in.fill([&] { return random.uniform_float(lowest, 5.0f); });
        UnaryF32 args = {c.function, c.p0,        c.p1,       3,           channels,
                         in.data(),  in.stride(), out.data(), out.stride()};
        kernels().unary(args);
        std::vector<float> alone;
        for (size_t p = 0; p < 3; ++p) {
          for (size_t i = 0; i < channels; ++i) {
            alone.push_back(0);
            kernels().unary(arguments(c, in.pixel(p) + i, &alone.back(), 1));
          }
        }
        args.out = args.in == nullptr ? nullptr : in.data();
        args.out_stride = in.stride();
        kernels().unary(args);
        for (size_t i = 0; i < alone.size(); ++i) {
          const size_t p = i / channels;
          const size_t channel = i % channels;
          ASSERT_EQ(std::memcmp(&out.pixel(p)[channel], &alone[i], sizeof(float)), 0)
              << "function " << static_cast<int>(c.function) << ", channel " << channel << " of "
              << channels << ": " << out.pixel(p)[channel] << " and " << alone[i];
          ASSERT_EQ(std::memcmp(&in.pixel(p)[channel], &alone[i], sizeof(float)), 0) << "in place";
        }
        ASSERT_TRUE(out.gaps_untouched() && in.gaps_untouched()) << channels << " channels";
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, UnaryF32Test, ::testing::ValuesIn(kElementwiseF32Candidates),
                         candidate_name);

}  // namespace
}  // namespace wbcq::testing
