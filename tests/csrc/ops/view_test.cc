// Operators on views: they read and write the view's channels and leave the others alone.
#include <gtest/gtest.h>

#include <bit>
#include <vector>

#include "ops/op_harness.h"
#include "support/expected.h"

namespace wbcq {
namespace {

using testing::Pictures;
using testing::Random;
using testing::Storage;

constexpr uint8_t kUntouched = 0xA5;  // what Storage fills memory with

// `tensor` as channels of a parent that has `before` and `after` more.
Tensor as_view(Tensor tensor, size_t before, size_t after) {
  Tensor parent = tensor;
  parent.channels += before + after;
  tensor.layout = dense_layout(parent);
  tensor.layout.origin += before;
  tensor.is_view = true;
  return tensor;
}

void expect_others_untouched(const Tensor& view, size_t batch, Storage& storage) {
  const TensorLayout& layout = view.layout;
  const auto* bytes = reinterpret_cast<const uint8_t*>(storage.data());
  for (size_t i = 0; i < batch * layout.picture_stride; ++i) {
    const size_t channel = i % layout.pixel_stride;
    if (channel >= layout.origin && channel < layout.origin + view.channels) continue;
    ASSERT_EQ(bytes[i], kUntouched) << "byte " << i;
  }
}

struct Table {
  explicit Table(Random& random) : values(256) {
    for (uint8_t& value : values) value = static_cast<uint8_t>(random.uniform(0, 255));
  }
  ConstBlob blob() const { return {dims, std::as_bytes(std::span(values))}; }

  std::vector<uint8_t> values;
  std::vector<uint32_t> dims = {256};
};

size_t size(Random& random, int64_t hi) { return static_cast<size_t>(random.uniform(1, hi)); }

TEST(View, MultiplicationWithBroadcastAndTable) {
  Random random;
  for (int i = 0; i < 40; ++i) {
    const size_t height = size(random, 9), width = size(random, 9), channels = size(random, 70);
    const size_t batch = size(random, 3);
    const bool broadcast = random.one_in(2);
    const auto view = [&](const Tensor& tensor) {
      return as_view(tensor, size(random, 40), size(random, 40));
    };
    const Tensor a = view(testing::u8_tensor("a", height, width, channels, 0.03f, 17));
    const Tensor b = view(testing::u8_tensor("b", broadcast ? 1 : height, broadcast ? 1 : width,
                                             channels, 0.02f, 200));
    const Tensor y = view(testing::u8_tensor("y", height, width, channels, 0.5f, 3));
    const float pre_scale = 0.04f;
    const std::vector<int32_t> attrs = {5, 250, std::bit_cast<int32_t>(pre_scale), 99};
    const Table table(random);
    const Pictures a_values = testing::random_pictures(random, a, batch);
    const Pictures b_values = testing::random_pictures(random, b, batch);
    const float scales = 0.03f * 0.02f;
    Pictures expected;
    for (size_t e = 0; e < a_values.size(); ++e) {
      const size_t picture = e / (y.pixels() * channels);
      const uint8_t other = broadcast ? b_values[picture * channels + e % channels] : b_values[e];
      const auto product = static_cast<float>((a_values[e] - 17) * (other - 200));
      expected.push_back(table.values[testing::expected_round_clamp(
          testing::expected_product(product, scales / pre_scale), 99, attrs[0], attrs[1])]);
    }
    for (const Isa isa : supported_isas()) {
      OpSource source = {};
      source.name = "mul";
      source.kind = format::OpKind::kMul;
      source.attrs = attrs;
      source.inputs = {&a, &b};
      source.outputs = {&y};
      source.blobs = {table.blob()};
      source.kernels = kernel_table(isa);
      const auto op = testing::make_or_fail(source);
      ASSERT_NE(op, nullptr);
      Storage a_storage(a, batch), b_storage(b, batch), y_storage(y, batch);
      a_storage.write(a_values);
      b_storage.write(b_values);
      testing::run_tiles(*op, batch, 2, {a_storage.data(), b_storage.data()}, y_storage.data());
      EXPECT_EQ(y_storage.read<uint8_t>(), expected) << isa_name(isa);
      expect_others_untouched(y, batch, y_storage);
    }
  }
}

TEST(View, Lookup) {
  Random random;
  for (int i = 0; i < 40; ++i) {
    const Tensor plain =
        testing::u8_tensor("x", size(random, 9), size(random, 9), size(random, 70), 0.1f, 50);
    const size_t batch = size(random, 3);
    // The narrowest parents too: gaps that look like those of a tensor are another's channels.
    const Tensor x = random.one_in(2) ? plain : as_view(plain, size(random, 9), 0);
    const Tensor y = as_view(plain, 0, size(random, 9));
    const Table table(random);
    const Pictures values = testing::random_pictures(random, x, batch);
    Pictures expected;
    for (const uint8_t value : values) expected.push_back(table.values[value]);
    for (const Isa isa : supported_isas()) {
      OpSource source = {};
      source.name = "lookup";
      source.kind = format::OpKind::kLookup;
      source.inputs = {&x};
      source.outputs = {&y};
      source.blobs = {table.blob()};
      source.kernels = kernel_table(isa);
      const auto op = testing::make_or_fail(source);
      ASSERT_NE(op, nullptr);
      Storage x_storage(x, batch), y_storage(y, batch);
      x_storage.write(values);
      testing::run_tiles(*op, batch, 3, {x_storage.data()}, y_storage.data());
      EXPECT_EQ(y_storage.read<uint8_t>(), expected) << isa_name(isa);
      expect_others_untouched(y, batch, y_storage);
    }
  }
}

}  // namespace
}  // namespace wbcq
