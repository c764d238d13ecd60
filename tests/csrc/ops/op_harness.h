// Runs one operator on logical data: N, H, W, C without gaps. Tensors end at an unreadable page
// just behind their slack.
#ifndef WBCQ_TESTS_OPS_OP_HARNESS_H_
#define WBCQ_TESTS_OPS_OP_HARNESS_H_

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "cpu/isa.h"
#include "kernels/kernel_table.h"
#include "ops/op.h"
#include "support/guarded_buffer.h"
#include "support/random.h"

namespace wbcq::testing {

using Pictures = std::vector<uint8_t>;

inline Tensor u8_tensor(const char* name, size_t height, size_t width, size_t channels, float scale,
                        int32_t zero_point) {
  Tensor tensor;
  tensor.name = name;
  tensor.height = height;
  tensor.width = width;
  tensor.channels = channels;
  tensor.scale = scale;
  tensor.zero_point = zero_point;
  tensor.layout = dense_layout(tensor);
  return tensor;
}

inline Tensor f32_tensor(const char* name, size_t height, size_t width, size_t channels) {
  Tensor tensor = u8_tensor(name, height, width, channels, 0.0f, 0);
  tensor.dtype = format::DType::kF32;
  tensor.layout = dense_layout(tensor);
  return tensor;
}

inline size_t elements(const Tensor& tensor, size_t batch) {
  return batch * tensor.pixels() * tensor.channels;
}

inline Pictures random_pictures(Random& random, const Tensor& tensor, size_t batch) {
  Pictures pictures(elements(tensor, batch));
  const bool extreme = random.one_in(4);
  for (uint8_t& value : pictures) {
    value = static_cast<uint8_t>(extreme ? 255 * random.uniform(0, 1) : random.uniform(0, 255));
  }
  return pictures;
}

// A tensor's memory in its own layout. The halo holds the zero point, gaps hold garbage.
class Storage {
 public:
  Storage(const Tensor& tensor, size_t batch)
      : tensor_(tensor),
        batch_(batch),
        buffer_(round_up(batch * tensor.layout.picture_stride, 4), kTensorSlack) {
    std::memset(buffer_.data(), 0xA5, buffer_.size());
  }

  std::byte* data() { return reinterpret_cast<std::byte*>(buffer_.data()); }

  template <typename T>
  void write(const std::vector<T>& logical) {
    const TensorLayout& layout = tensor_.layout;
    const Halo& halo = layout.halo;
    if (halo.top + halo.left + halo.bottom + halo.right != 0) {
      std::memset(buffer_.data(), tensor_.zero_point, batch_ * layout.picture_stride);
    }
    for_each_pixel([&](size_t pixel, std::byte* address) {
      std::memcpy(address, logical.data() + pixel * tensor_.channels, tensor_.channels * sizeof(T));
    });
  }

  template <typename T>
  std::vector<T> read() {
    std::vector<T> logical(elements(tensor_, batch_));
    for_each_pixel([&](size_t pixel, std::byte* address) {
      std::memcpy(logical.data() + pixel * tensor_.channels, address, tensor_.channels * sizeof(T));
    });
    return logical;
  }

 private:
  template <typename F>
  void for_each_pixel(F f) {
    const TensorLayout& layout = tensor_.layout;
    size_t pixel = 0;
    for (size_t n = 0; n < batch_; ++n) {
      for (size_t y = 0; y < tensor_.height; ++y) {
        for (size_t x = 0; x < tensor_.width; ++x) {
          f(pixel++, data() + layout.origin + n * layout.picture_stride + y * layout.row_stride +
                         x * layout.pixel_stride);
        }
      }
    }
  }

  const Tensor& tensor_;
  size_t batch_;
  GuardedBuffer<uint8_t> buffer_;
};

inline std::unique_ptr<Op> make_or_fail(const OpSource& source) {
  Result<std::unique_ptr<Op>> op = make_op(source);
  EXPECT_TRUE(op.ok()) << op.status().message();
  return op.ok() ? std::move(op).value() : nullptr;
}

// Runs all tiles, in as many calls as there are threads, last range first.
inline void run_tiles(const Op& op, size_t batch, size_t threads,
                      const std::vector<const std::byte*>& inputs, std::byte* output) {
  const std::unique_ptr<OpPlan> plan = op.plan(batch, threads);
  auto scratch = AlignedBuffer::allocate(plan->scratch_bytes(), "scratch");
  ASSERT_TRUE(scratch.ok());
  std::byte* const outputs[] = {output};
  for (size_t part = threads; part-- > 0;) {
    const Range range = split_evenly(plan->tiles(), threads, part);
    if (range.size() == 0) continue;
    plan->run({inputs, outputs}, range.begin, range.end, scratch.value().data());
  }
}

}  // namespace wbcq::testing

#endif  // WBCQ_TESTS_OPS_OP_HARNESS_H_
