// Pools with padding, dilation, ceil mode and clipped windows against the definition.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "ops/op_harness.h"
#include "support/expected.h"

namespace wbcq {
namespace {

using testing::Pictures;
using testing::Random;
using testing::Storage;

struct PoolCase {
  bool max;
  int32_t kernel[2], stride[2], pad[4], dilation[2];
  bool count_include_pad;
  int32_t divisor, lo, hi;
  size_t batch;
  Tensor input, output;
  Pictures x;
  std::vector<int32_t> attrs;
};

// As in PyTorch: in ceil mode the last window may leave the padded picture, but starts inside it.
size_t output_size(int64_t in, int64_t extent, int64_t stride, int64_t pad, bool ceil_mode) {
  const int64_t room = in + 2 * pad - extent;
  int64_t out = (ceil_mode ? (room + stride - 1) / stride : room / stride) + 1;
  if (ceil_mode && (out - 1) * stride >= in + pad) --out;
  return static_cast<size_t>(out);
}

PoolCase random_case(Random& random) {
  PoolCase pool = {};
  pool.max = random.one_in(2);
  pool.batch = static_cast<size_t>(random.uniform(1, 3));
  size_t in[2];
  size_t out[2];
  for (int i = 0; i < 2; ++i) {
    pool.kernel[i] = static_cast<int32_t>(random.uniform(1, 5));
    pool.stride[i] = static_cast<int32_t>(random.uniform(1, 4));
    pool.dilation[i] = static_cast<int32_t>(pool.max && random.one_in(3) ? 2 : 1);
    pool.pad[i] = pool.pad[i + 2] = static_cast<int32_t>(random.uniform(0, pool.kernel[i] / 2));
    const int32_t extent = pool.dilation[i] * (pool.kernel[i] - 1) + 1;
    in[i] = static_cast<size_t>(extent + random.uniform(0, 10));
    out[i] = output_size(static_cast<int64_t>(in[i]), extent, pool.stride[i], pool.pad[i],
                         random.one_in(2));
  }
  pool.count_include_pad = !pool.max && random.one_in(2);
  pool.divisor = static_cast<int32_t>(!pool.max && random.one_in(4) ? random.uniform(1, 20) : 0);
  pool.lo = static_cast<int32_t>(pool.max || random.one_in(2) ? 0 : random.uniform(0, 100));
  pool.hi = static_cast<int32_t>(pool.max || random.one_in(2) ? 255 : random.uniform(150, 255));
  const auto channels = static_cast<size_t>(random.uniform(1, 150));
  const auto zero_point = static_cast<int32_t>(random.uniform(0, 255));
  pool.input = testing::u8_tensor("x", in[0], in[1], channels, 0.03f, zero_point);
  pool.output =
      testing::u8_tensor("y", out[0], out[1], channels, pool.max ? 0.03f : 0.021f,
                         pool.max ? zero_point : static_cast<int32_t>(random.uniform(0, 255)));
  pool.x = testing::random_pictures(random, pool.input, pool.batch);
  return pool;
}

uint8_t expected_value(const PoolCase& pool, size_t n, size_t oy, size_t ox, size_t c) {
  const auto height = static_cast<int64_t>(pool.input.height);
  const auto width = static_cast<int64_t>(pool.input.width);
  const int64_t y0 = static_cast<int64_t>(oy) * pool.stride[0] - pool.pad[0];
  const int64_t x0 = static_cast<int64_t>(ox) * pool.stride[1] - pool.pad[1];
  uint8_t largest = 0;
  int64_t sum = 0, inside = 0, padded = 0;
  for (int32_t ky = 0; ky < pool.kernel[0]; ++ky) {
    for (int32_t kx = 0; kx < pool.kernel[1]; ++kx) {
      const int64_t y = y0 + ky * pool.dilation[0];
      const int64_t x = x0 + kx * pool.dilation[1];
      padded += y < height + pool.pad[2] && x < width + pool.pad[3];
      if (y < 0 || x < 0 || y >= height || x >= width) continue;
      const uint8_t value =
          pool.x[((n * pool.input.height + static_cast<size_t>(y)) * pool.input.width +
                  static_cast<size_t>(x)) *
                     pool.input.channels +
                 c];
      largest = std::max(largest, value);
      sum += value - pool.input.zero_point;
      ++inside;
    }
  }
  if (pool.max) return largest;
  const int64_t divisor = pool.divisor != 0        ? pool.divisor
                          : pool.count_include_pad ? padded
                                                   : inside;
  const float multiplier = (pool.input.scale / pool.output.scale) / static_cast<float>(divisor);
  return testing::expected_round_clamp(
      testing::expected_product(static_cast<float>(sum), multiplier), pool.output.zero_point,
      pool.lo, pool.hi);
}

Pictures expected(const PoolCase& pool) {
  Pictures out;
  for (size_t n = 0; n < pool.batch; ++n) {
    for (size_t oy = 0; oy < pool.output.height; ++oy) {
      for (size_t ox = 0; ox < pool.output.width; ++ox) {
        for (size_t c = 0; c < pool.output.channels; ++c) {
          out.push_back(expected_value(pool, n, oy, ox, c));
        }
      }
    }
  }
  return out;
}

Pictures run(PoolCase& pool, Isa isa, size_t threads) {
  pool.attrs = {pool.kernel[0],
                pool.kernel[1],
                pool.stride[0],
                pool.stride[1],
                pool.pad[0],
                pool.pad[1],
                pool.pad[2],
                pool.pad[3],
                pool.dilation[0],
                pool.dilation[1],
                pool.count_include_pad,
                pool.divisor,
                pool.lo,
                pool.hi,
                0,
                0};
  OpSource source = {};
  source.name = "pool";
  source.kind = pool.max ? format::OpKind::kMaxPool2d : format::OpKind::kAvgPool2d;
  source.attrs = pool.attrs;
  source.inputs = {&pool.input};
  source.outputs = {&pool.output};
  source.kernels = kernel_table(isa);
  const auto op = testing::make_or_fail(source);
  Storage input(pool.input, pool.batch);
  Storage output(pool.output, pool.batch);
  input.write(pool.x);
  testing::run_tiles(*op, pool.batch, threads, {input.data()}, output.data());
  return output.read<uint8_t>();
}

TEST(Pool2d, RandomWindows) {
  Random random;
  for (int i = 0; i < 300; ++i) {
    PoolCase pool = random_case(random);
    const Pictures reference = expected(pool);
    for (const Isa isa : supported_isas()) {
      SCOPED_TRACE(::testing::Message() << "case " << i << ", " << isa_name(isa));
      EXPECT_EQ(run(pool, isa, 1), reference);
      EXPECT_EQ(run(pool, isa, 3), reference);
    }
    if (::testing::Test::HasFailure()) return;
  }
}

// Adaptive: kernel, stride and padding are 0.
uint8_t expected_adaptive(const PoolCase& pool, size_t n, size_t oy, size_t ox, size_t c) {
  const Tensor& in = pool.input;
  const Tensor& out = pool.output;
  uint8_t largest = 0;
  int64_t sum = 0, count = 0;
  for (size_t y = oy * in.height / out.height; y * out.height < (oy + 1) * in.height; ++y) {
    for (size_t x = ox * in.width / out.width; x * out.width < (ox + 1) * in.width; ++x, ++count) {
      const uint8_t value = pool.x[((n * in.height + y) * in.width + x) * in.channels + c];
      largest = std::max(largest, value);
      sum += value - in.zero_point;
    }
  }
  if (pool.max) return largest;
  const float multiplier = (in.scale / out.scale) / static_cast<float>(count);
  return testing::expected_round_clamp(
      testing::expected_product(static_cast<float>(sum), multiplier), out.zero_point, pool.lo,
      pool.hi);
}

TEST(Pool2d, Adaptive) {
  Random random;
  for (int i = 0; i < 100; ++i) {
    PoolCase pool = random_case(random);
    for (int axis = 0; axis < 2; ++axis) {
      pool.kernel[axis] = pool.stride[axis] = pool.pad[axis] = pool.pad[axis + 2] = 0;
      pool.dilation[axis] = 1;
    }
    pool.count_include_pad = false;
    pool.divisor = 0;
    pool.output.height = static_cast<size_t>(random.uniform(1, 9));
    pool.output.width = static_cast<size_t>(random.uniform(1, 9));
    pool.output.layout = dense_layout(pool.output);
    Pictures reference;
    for (size_t n = 0; n < pool.batch; ++n) {
      for (size_t oy = 0; oy < pool.output.height; ++oy) {
        for (size_t ox = 0; ox < pool.output.width; ++ox) {
          for (size_t c = 0; c < pool.output.channels; ++c) {
            reference.push_back(expected_adaptive(pool, n, oy, ox, c));
          }
        }
      }
    }
    for (const Isa isa : supported_isas()) {
      SCOPED_TRACE(::testing::Message() << "case " << i << ", " << isa_name(isa));
      EXPECT_EQ(run(pool, isa, 2), reference);
    }
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(Pool2d, GlobalAverage) {
  Random random;
  PoolCase pool = random_case(random);
  while (pool.max) pool = random_case(random);
  pool.kernel[0] = static_cast<int32_t>(pool.input.height);
  pool.kernel[1] = static_cast<int32_t>(pool.input.width);
  std::fill(std::begin(pool.pad), std::end(pool.pad), 0);
  pool.output = testing::u8_tensor("y", 1, 1, pool.input.channels, 0.02f, 10);
  for (const Isa isa : supported_isas()) EXPECT_EQ(run(pool, isa, 1), expected(pool));
}

}  // namespace
}  // namespace wbcq
