// Every kernel of kernels.inc that this CPU can run, bit for bit against the definition.
#include "kernels/sparse/sparse.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "base/aligned_buffer.h"
#include "cpu/isa.h"
#include "support/expected.h"
#include "support/guarded_buffer.h"
#include "support/random.h"

namespace wbcq {

#define WBCQ_SPARSE_KERNEL(isa, object) extern const SparseKernel object;
#include "kernels/sparse/kernels.inc"

namespace {

using testing::expected_product;
using testing::expected_round_clamp;
using testing::expected_sum;
using testing::GuardedBuffer;
using testing::Random;

using Entry = std::pair<Isa, const SparseKernel*>;

std::vector<Entry> runnable_kernels() {
  std::vector<Entry> kernels;
#define WBCQ_SPARSE_KERNEL(isa, object) \
  if (isa_supported(Isa::k##isa)) kernels.emplace_back(Isa::k##isa, &object);
#include "kernels/sparse/kernels.inc"
  return kernels;
}

template <typename T>
T* allocate(AlignedBuffer& buffer, size_t count) {
  auto result = AlignedBuffer::allocate(count * sizeof(T) + 64, "a test's buffer");
  buffer = std::move(result).value();
  std::memset(buffer.data(), 0x5A, count * sizeof(T));
  return buffer.as<T>();
}

enum class Values { kRandom, kExtreme };
enum class Fill { kEmpty, kOne, kSome, kFull };
constexpr Fill kFills[] = {Fill::kEmpty, Fill::kOne, Fill::kSome, Fill::kFull};

class SparseKernelTest : public ::testing::TestWithParam<Entry> {
 protected:
  const SparseKernel& kernel() const { return *GetParam().second; }
  int64_t drawn(Values values, int64_t lo, int64_t hi) {
    if (values == Values::kExtreme) return random_.one_in(2) ? lo : hi;
    return random_.uniform(lo, hi);
  }

  // The quads whose blocks a list holds.
  std::vector<size_t> draw_list(Fill fill, size_t quads) {
    if (fill == Fill::kEmpty) return {};
    if (fill == Fill::kOne) {
      return {static_cast<size_t>(random_.uniform(0, static_cast<int64_t>(quads) - 1))};
    }
    std::vector<size_t> list;
    for (size_t q = 0; q < quads; ++q) {
      if (fill == Fill::kFull || random_.one_in(3)) list.push_back(q);
    }
    return list;
  }

  // The outputs in any order, `block` of them at a time.
  std::vector<uint8_t> draw_order(size_t outputs, size_t block) {
    std::vector<size_t> firsts;
    for (size_t o = 0; o < outputs; o += block) firsts.push_back(o);
    std::shuffle(firsts.begin(), firsts.end(), random_.engine());
    std::vector<uint8_t> order;
    for (const size_t first : firsts) {
      for (size_t o = first; o < first + block; ++o) order.push_back(static_cast<uint8_t>(o));
    }
    return order;
  }

  // Random lists of blocks, in `parts` parts of the depth, for a tile of `pixels` pixels.
  void check(size_t form, size_t pixels, size_t groups, size_t quads, size_t parts, bool head,
             bool has_residual, Values values) {
    SCOPED_TRACE(::testing::Message() << "form " << form << ", " << pixels << " pixels, " << groups
                                      << " groups, " << quads << " quads, " << parts
                                      << " parts, head " << head << ", residual " << has_residual);
    const size_t row = kernel().pixels;
    const size_t outputs = groups * kSparseGroup;
    const size_t per_block = kSparseOutputs[form];
    AlignedBuffer memory[4];
    auto* lhs = allocate<uint32_t>(memory[0], parts * quads * row);
    auto* sums = allocate<int32_t>(memory[1], outputs * row);
    auto* residual = allocate<uint32_t>(memory[2], groups * row);
    auto* out = allocate<uint32_t>(memory[3], outputs * row);
    auto* activations = reinterpret_cast<uint8_t*>(lhs);
    for (size_t i = 0; i < parts * quads * row * 4; ++i) {
      activations[i] = static_cast<uint8_t>(drawn(values, 0, 255));
    }
    auto* shortcut = reinterpret_cast<uint8_t*>(residual);
    for (size_t i = 0; i < groups * row * 4; ++i) {
      shortcut[i] = static_cast<uint8_t>(drawn(values, 0, 255));
    }
    std::vector<int32_t> start(outputs);
    std::vector<float> mult(outputs), bias(outputs);
    for (size_t o = 0; o < outputs; ++o) {
      start[o] = static_cast<int32_t>(random_.uniform(-20000, 20000));
      mult[o] = random_.uniform_float(-0.004f, 0.004f);
      bias[o] = random_.uniform_float(-5.0f, 5.0f);
    }
    SparseTile tile = {};
    tile.pixels = pixels;
    tile.groups = groups;
    tile.start = start.data();
    tile.mult = mult.data();
    tile.bias = bias.data();
    tile.sums = parts > 1 || head ? sums : nullptr;
    tile.residual = has_residual ? residual : nullptr;
    tile.residual_multiplier = random_.uniform_float(0.1f, 3.0f);
    tile.residual_zero_point = static_cast<int32_t>(drawn(values, 0, 255));
    tile.zero_point = static_cast<int32_t>(drawn(values, 0, 255));
    tile.lo = static_cast<int32_t>(random_.one_in(2) ? 0 : random_.uniform(0, 128));
    tile.hi = static_cast<int32_t>(random_.one_in(2) ? 255 : random_.uniform(128, 255));
    tile.out = out;

    std::vector<int64_t> acc(outputs * row);
    for (size_t i = 0; i < acc.size(); ++i) acc[i] = start[i / row];
    std::vector<uint8_t> order;
    for (size_t part = 0; part < parts; ++part) {
      std::vector<int32_t> blocks;
      std::vector<uint32_t> counts;
      order = draw_order(outputs, per_block);
      for (size_t first = 0; first < outputs; first += kSparseGroup) {
        // A list for each block's outputs, filled up to the longest.
        std::vector<std::vector<size_t>> lists;
        for (size_t i = 0; i < kSparseGroup / per_block; ++i) {
          lists.push_back(draw_list(kFills[random_.uniform(0, 3)], quads));
        }
        size_t steps = 0;
        for (const auto& list : lists) steps = std::max(steps, list.size());
        counts.push_back(static_cast<uint32_t>(steps));
        for (size_t step = 0; step < steps; ++step) {
          uint16_t rows[kSparseGroup] = {};
          std::vector<int32_t> weights;
          for (size_t i = 0; i < lists.size(); ++i) {
            const bool filled = step >= lists[i].size();
            const size_t q = filled ? 0 : lists[i][step];
            rows[i] = static_cast<uint16_t>(q);
            for (size_t j = 0; j < per_block; ++j) {
              int8_t w[4] = {};
              for (int8_t& x : w) x = static_cast<int8_t>(filled ? 0 : drawn(values, -127, 127));
              int32_t word;
              std::memcpy(&word, w, 4);
              weights.push_back(word);
              const size_t o = order[first + i * per_block + j];
              for (size_t p = 0; p < pixels; ++p) {
                for (size_t k = 0; k < 4; ++k) {
                  const uint8_t a = activations[((part * quads + q) * row + p) * 4 + k];
                  // Kernels that want signed activations read the same bytes as such.
                  const int x = kernel().lhs_offset != 0 ? static_cast<int8_t>(a) : a;
                  acc[o * row + p] += int64_t{x} * w[k];
                }
              }
            }
          }
          const size_t at = blocks.size();
          blocks.resize(at + kSparseStepDwords[form] - kSparseGroup);
          std::memcpy(blocks.data() + at, rows, (blocks.size() - at) * sizeof(int32_t));
          blocks.insert(blocks.end(), weights.begin(), weights.end());
        }
      }
      tile.outputs = order.data();
      tile.blocks = blocks.data();
      tile.counts = counts.data();
      tile.lhs = lhs + part * quads * row;
      tile.first = part == 0;
      tile.last = part + 1 == parts;
      (head ? kernel().run_f32 : kernel().run_u8)[form](tile);
    }

    for (size_t place = 0; place < outputs; ++place) {
      const size_t o = order[place];
      for (size_t p = 0; p < pixels; ++p) {
        const auto sum = static_cast<float>(static_cast<int32_t>(acc[o * row + p]));
        float value = expected_product(sum, mult[o]);
        if (head) {
          float actual;
          std::memcpy(&actual, out + o * row + p, sizeof(actual));
          ASSERT_EQ(actual, expected_sum(value, bias[o])) << "output " << o << ", pixel " << p;
          continue;
        }
        const size_t byte = (place / 4 * row + p) * 4 + place % 4;
        if (has_residual) {
          const auto r = static_cast<float>(shortcut[byte] - tile.residual_zero_point);
          value = expected_sum(value, expected_product(r, tile.residual_multiplier));
        }
        ASSERT_EQ(reinterpret_cast<uint8_t*>(out)[byte],
                  expected_round_clamp(value, tile.zero_point, tile.lo, tile.hi))
            << "output " << o << ", pixel " << p;
      }
    }
  }

  Random random_;
};

INSTANTIATE_TEST_SUITE_P(Kernels, SparseKernelTest, ::testing::ValuesIn(runnable_kernels()),
                         [](const auto& entry) {
                           return std::string(isa_name(entry.param.first));
                         });

TEST_P(SparseKernelTest, EveryNumberOfPixels) {
  for (size_t form = 0; form < kSparseForms; ++form) {
    for (size_t pixels = 1; pixels <= kernel().pixels; ++pixels) {
      for (const bool head : {false, true}) {
        check(form, pixels, 3, 9, 1, head, !head && random_.one_in(2), Values::kRandom);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(SparseKernelTest, PartsOfTheDepth) {
  for (int i = 0; i < 200; ++i) {
    const bool head = random_.one_in(3);
    check(static_cast<size_t>(random_.uniform(0, kSparseForms - 1)),
          static_cast<size_t>(random_.uniform(1, static_cast<int64_t>(kernel().pixels))),
          static_cast<size_t>(random_.uniform(1, 17)), static_cast<size_t>(random_.uniform(1, 40)),
          static_cast<size_t>(random_.uniform(1, 4)), head, !head && random_.one_in(2),
          random_.one_in(2) ? Values::kRandom : Values::kExtreme);
    if (HasFatalFailure()) return;
  }
}

// Sums that leave int32 on the way and come back.
TEST_P(SparseKernelTest, DeepSums) {
  for (size_t form = 0; form < kSparseForms; ++form) {
    check(form, kernel().pixels, 1, 4000, 2, false, false, Values::kExtreme);
    if (HasFatalFailure()) return;
  }
}

// Pixels end at unreadable pages: exactly the bytes that are asked for are read and written.
TEST_P(SparseKernelTest, GatherAndScatter) {
  for (int i = 0; i < 300; ++i) {
    const auto pixels =
        static_cast<size_t>(random_.uniform(1, static_cast<int64_t>(kernel().pixels)));
    const auto first = static_cast<size_t>(random_.uniform(0, 9));
    const auto bytes = static_cast<size_t>(random_.uniform(1, random_.one_in(2) ? 20 : 270));
    SCOPED_TRACE(::testing::Message()
                 << pixels << " pixels of " << bytes << " bytes from byte " << first);
    std::vector<std::unique_ptr<GuardedBuffer<uint8_t>>> rows;
    std::vector<const uint8_t*> pointers;
    for (size_t p = 0; p < pixels; ++p) {
      if (p < 3) {
        rows.push_back(std::make_unique<GuardedBuffer<uint8_t>>(first + bytes));
        for (size_t b = 0; b < first + bytes; ++b) {
          (*rows.back())[b] = static_cast<uint8_t>(random_.uniform(0, 255));
        }
      }
      pointers.push_back(rows[static_cast<size_t>(random_.uniform(0, rows.size() - 1))]->data());
    }
    const size_t quads = (bytes + 3) / 4;
    AlignedBuffer memory;
    auto* lanes = allocate<uint32_t>(memory, quads * kernel().pixels);
    for (const bool plain : {false, true}) {
      const int offset = plain ? 0 : kernel().lhs_offset;
      (plain ? kernel().gather_plain
             : kernel().gather)({pointers.data(), pixels, first, bytes, nullptr, lanes});
      const auto at = [&](size_t p, size_t b) -> uint8_t {
        return reinterpret_cast<uint8_t*>(lanes + b / 4 * kernel().pixels + p)[b % 4];
      };
      for (size_t p = 0; p < pixels; ++p) {
        for (size_t b = 0; b < bytes; ++b) {
          ASSERT_EQ(at(p, b), static_cast<uint8_t>(pointers[p][first + b] - offset))
              << "pixel " << p << ", byte " << b;
        }
      }
    }
    const size_t stride = bytes + static_cast<size_t>(random_.uniform(0, 5));
    GuardedBuffer<uint8_t> out((pixels - 1) * stride + bytes);
    const std::vector<uint8_t> before(out.data(), out.data() + out.size());
    kernel().scatter({lanes, pixels, bytes, nullptr, out.data(), stride});
    for (size_t at_byte = 0; at_byte < out.size(); ++at_byte) {
      const size_t p = at_byte / stride, b = at_byte % stride;
      ASSERT_EQ(out[at_byte], b < bytes ? pointers[p][first + b] : before[at_byte])
          << "pixel " << p << ", byte " << b;
    }
  }
}

// Bytes of a chunk change places on the way in, and back on the way out.
TEST_P(SparseKernelTest, Order) {
  for (int i = 0; i < 200; ++i) {
    const auto pixels =
        static_cast<size_t>(random_.uniform(1, static_cast<int64_t>(kernel().pixels)));
    const auto bytes = static_cast<size_t>(random_.uniform(1, kSparseChunk));
    const size_t quads = (bytes + 3) / 4;
    std::vector<uint8_t> order = draw_order(quads * 4, random_.one_in(2) ? 1 : 4);
    order.resize(kSparseChunk);
    std::vector<uint8_t> places(kSparseChunk);
    for (size_t b = 0; b < quads * 4; ++b) places[order[b]] = static_cast<uint8_t>(b);
    GuardedBuffer<uint8_t> in(pixels * bytes), out(pixels * bytes);
    std::vector<const uint8_t*> pointers;
    for (size_t b = 0; b < in.size(); ++b) in[b] = static_cast<uint8_t>(random_.uniform(0, 255));
    for (size_t p = 0; p < pixels; ++p) pointers.push_back(in.data() + p * bytes);
    AlignedBuffer memory;
    auto* lanes = allocate<uint32_t>(memory, quads * kernel().pixels);
    kernel().gather_plain({pointers.data(), pixels, 0, bytes, order.data(), lanes});
    for (size_t p = 0; p < pixels; ++p) {
      for (size_t b = 0; b < quads * 4; ++b) {
        if (order[b] >= bytes) continue;
        ASSERT_EQ(reinterpret_cast<uint8_t*>(lanes + b / 4 * kernel().pixels + p)[b % 4],
                  pointers[p][order[b]])
            << "pixel " << p << ", byte " << b << " of " << bytes;
      }
    }
    kernel().scatter({lanes, pixels, bytes, places.data(), out.data(), bytes});
    for (size_t b = 0; b < out.size(); ++b) ASSERT_EQ(out[b], in[b]) << "byte " << b;
  }
}

}  // namespace
}  // namespace wbcq
