// add, quantize, dequantize and the reordering of outputs.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "ops/op_harness.h"
#include "support/expected.h"

namespace wbcq {
namespace {

using testing::Pictures;
using testing::Random;
using testing::Storage;

size_t size(Random& random, int64_t hi) { return static_cast<size_t>(random.uniform(1, hi)); }

OpSource source_of(format::OpKind kind, std::vector<const Tensor*> inputs, const Tensor& output,
                   std::span<const int32_t> attrs, Isa isa) {
  OpSource source = {};
  source.name = "op";
  source.kind = kind;
  source.attrs = attrs;
  source.inputs = std::move(inputs);
  source.outputs = {&output};
  source.kernels = kernel_table(isa);
  return source;
}

TEST(Add, AlsoInPlaceOfEitherInput) {
  Random random;
  for (int i = 0; i < 50; ++i) {
    const size_t height = size(random, 9), width = size(random, 9), channels = size(random, 70);
    const size_t batch = size(random, 3);
    const Tensor a = testing::u8_tensor("a", height, width, channels, 0.03f, 17);
    const Tensor b = testing::u8_tensor("b", height, width, channels, 0.05f, 200);
    const Tensor y = testing::u8_tensor("y", height, width, channels, 0.06f, 99);
    const std::vector<int32_t> attrs = {static_cast<int32_t>(random.uniform(0, 90)),
                                        static_cast<int32_t>(random.uniform(110, 255)), 0, 0, 0};
    const Pictures a_values = testing::random_pictures(random, a, batch);
    const Pictures b_values = testing::random_pictures(random, b, batch);
    Pictures expected;
    for (size_t e = 0; e < a_values.size(); ++e) {
      const float left =
          testing::expected_product(static_cast<float>(a_values[e] - 17), 0.03f / 0.06f);
      const float right =
          testing::expected_product(static_cast<float>(b_values[e] - 200), 0.05f / 0.06f);
      expected.push_back(testing::expected_round_clamp(testing::expected_sum(left, right), 99,
                                                       attrs[0], attrs[1]));
    }
    for (const Isa isa : supported_isas()) {
      const auto op =
          testing::make_or_fail(source_of(format::OpKind::kAdd, {&a, &b}, y, attrs, isa));
      for (int place = 0; place < 3; ++place) {
        SCOPED_TRACE(::testing::Message() << isa_name(isa) << ", output " << place);
        Storage storage[] = {Storage(a, batch), Storage(b, batch), Storage(y, batch)};
        storage[0].write(a_values);
        storage[1].write(b_values);
        testing::run_tiles(*op, batch, 2, {storage[0].data(), storage[1].data()},
                           storage[place].data());
        EXPECT_EQ(storage[place].read<uint8_t>(), expected);
      }
    }
  }
}

TEST(Quantize, InterleavesAndFillsTheHalo) {
  Random random;
  for (int i = 0; i < 50; ++i) {
    const size_t height = size(random, 9), width = size(random, 40), channels = size(random, 20);
    const size_t batch = size(random, 3);
    Tensor x = testing::f32_tensor("x", height, width, channels);
    x.is_planar = true;
    Tensor y = testing::u8_tensor("y", height, width, channels, 0.013f, 77);
    if (random.one_in(2)) {
      y.layout = make_layout(y, channels,
                             {size(random, 3), size(random, 3), size(random, 3), size(random, 3)});
    }
    std::vector<float> planar(testing::elements(x, batch));
    for (float& value : planar) value = random.uniform_float(-3.0f, 3.0f);
    planar[0] = std::nanf("");

    for (const Isa isa : supported_isas()) {
      const auto op = testing::make_or_fail(source_of(format::OpKind::kQuantize, {&x}, y, {}, isa));
      Storage output(y, batch);
      testing::run_tiles(*op, batch, 2, {reinterpret_cast<const std::byte*>(planar.data())},
                         output.data());
      const TensorLayout& layout = y.layout;
      const auto* bytes = reinterpret_cast<const uint8_t*>(output.data());
      const size_t rows = layout.picture_stride / layout.row_stride;
      const size_t columns = layout.row_stride / layout.pixel_stride;
      for (size_t n = 0; n < batch; ++n) {
        for (size_t row = 0; row < rows; ++row) {
          for (size_t column = 0; column < columns; ++column) {
            const size_t py = row - layout.halo.top, px = column - layout.halo.left;
            for (size_t c = 0; c < channels; ++c) {
              uint8_t expected = 77;
              if (py < height && px < width) {
                const float value = planar[((n * channels + c) * height + py) * width + px];
                expected = testing::expected_round_clamp(
                    testing::expected_product(value, 1.0f / 0.013f), 77, 0, 255);
              }
              ASSERT_EQ(bytes[n * layout.picture_stride + row * layout.row_stride +
                              column * layout.pixel_stride + c],
                        expected)
                  << isa_name(isa) << " picture " << n << " row " << row << " column " << column;
            }
          }
        }
      }
    }
  }
}

TEST(Dequantize, AnyLayout) {
  Random random;
  for (int i = 0; i < 50; ++i) {
    Tensor x =
        testing::u8_tensor("x", size(random, 9), size(random, 9), size(random, 70), 0.11f, 50);
    const Tensor y = testing::f32_tensor("y", x.height, x.width, x.channels);
    if (random.one_in(3)) x.layout = make_layout(x, x.channels, {1, 2, 0, 3});
    const size_t batch = size(random, 3);
    const Pictures values = testing::random_pictures(random, x, batch);
    std::vector<float> expected;
    for (const uint8_t value : values) {
      expected.push_back(testing::expected_product(static_cast<float>(value - 50), 0.11f));
    }
    for (const Isa isa : supported_isas()) {
      const auto op =
          testing::make_or_fail(source_of(format::OpKind::kDequantize, {&x}, y, {}, isa));
      Storage input(x, batch);
      Storage output(y, batch);
      input.write(values);
      testing::run_tiles(*op, batch, 3, {input.data()}, output.data());
      EXPECT_EQ(output.read<float>(), expected) << isa_name(isa);
    }
  }
}

TEST(ToPlanar, MovesChannelsOutside) {
  Random random;
  for (const size_t channels : {1, 15, 16, 17, 50}) {
    const Tensor x = testing::f32_tensor("x", 3, 5, channels);
    const size_t batch = 2;
    std::vector<float> values(testing::elements(x, batch));
    for (float& value : values) value = random.uniform_float(-1.0f, 1.0f);
    Storage input(x, batch);
    Storage output(x, batch);
    input.write(values);
    testing::run_tiles(*make_to_planar(x), batch, 2, {input.data()}, output.data());
    const auto* planar = reinterpret_cast<const float*>(output.data());
    for (size_t n = 0; n < batch; ++n) {
      for (size_t p = 0; p < 15; ++p) {
        for (size_t c = 0; c < channels; ++c) {
          EXPECT_EQ(planar[(n * channels + c) * 15 + p], values[(n * 15 + p) * channels + c]);
        }
      }
    }
  }
}

TEST(FromPlanar, InterleavesAndFillsTheHalo) {
  Random random;
  for (const size_t channels : {1, 2, 3, 4, 5, 16, 17, 50}) {
    for (const Halo& halo : {Halo{}, Halo{1, 2, 0, 3}, Halo{3, 0, 2, 1}}) {
      Tensor x = testing::f32_tensor("x", 3, 5, channels);
      const size_t batch = 2;
      std::vector<float> planes(testing::elements(x, batch));
      for (float& value : planes) value = random.uniform_float(-1.0f, 1.0f);
      x.layout = make_layout(x, x.pixel_bytes(), halo);
      std::vector<std::byte> output(x.layout.bytes(batch), std::byte{0x55});
      testing::run_tiles(*make_from_planar(x), batch, 2,
                         {reinterpret_cast<const std::byte*>(planes.data())}, output.data());
      const auto* values = reinterpret_cast<const float*>(output.data());
      const size_t columns = halo.left + 5 + halo.right;
      const size_t rows = halo.top + 3 + halo.bottom;
      for (size_t i = 0; i < batch * rows * columns; ++i) {
        const size_t n = i / (rows * columns);
        const size_t py = i / columns % rows - halo.top, px = i % columns - halo.left;
        for (size_t c = 0; c < channels; ++c) {
          const bool inside = py < 3 && px < 5;
          ASSERT_EQ(values[i * channels + c],
                    inside ? planes[((n * channels + c) * 3 + py) * 5 + px] : 0.0f);
        }
      }
      EXPECT_EQ(output[x.layout.bytes(batch) - kTensorSlack], std::byte{0x55});
    }
  }
}

}  // namespace
}  // namespace wbcq
