#include "kernels/elementwise/elementwise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "cpu/isa.h"
#include "support/expected.h"
#include "support/guarded_buffer.h"
#include "support/random.h"

namespace wbcq {

#define WBCQ_ELEMENTWISE_KERNELS(isa, object) extern const ElementwiseKernels object;
#include "kernels/elementwise/kernels.inc"

namespace {

using testing::GuardedBuffer;
using testing::Random;

struct Candidate {
  Isa isa;
  const ElementwiseKernels* kernels;
};

const Candidate kCandidates[] = {
#define WBCQ_ELEMENTWISE_KERNELS(isa, object) {Isa::k##isa, &object},
#include "kernels/elementwise/kernels.inc"
};

constexpr uint8_t kUntouched = 0xA5;

uint8_t expected_add(const AddU8& args, uint8_t a, uint8_t b) {
  const float left =
      testing::expected_product(static_cast<float>(a - args.a_zero_point), args.a_multiplier);
  const float right =
      testing::expected_product(static_cast<float>(b - args.b_zero_point), args.b_multiplier);
  return testing::expected_round_clamp(testing::expected_sum(left, right), args.zero_point, args.lo,
                                       args.hi);
}

enum class Aliasing { kNone, kOutIsA, kOutIsB };

class AddTest : public ::testing::TestWithParam<Candidate> {
 protected:
  void SetUp() override {
    if (!isa_supported(GetParam().isa)) GTEST_SKIP() << "this CPU cannot run it";
  }

  // Runs on copies that end at unreadable pages.
  static void check(AddU8 args, const std::vector<uint8_t>& a, const std::vector<uint8_t>& b,
                    Aliasing aliasing = Aliasing::kNone) {
    constexpr size_t kPrefix = 64;
    const size_t size = a.size();
    GuardedBuffer<uint8_t> left(size + kPrefix);
    GuardedBuffer<uint8_t> right(size + kPrefix);
    GuardedBuffer<uint8_t> separate(size + kPrefix);
    std::copy(a.begin(), a.end(), left.data() + kPrefix);
    std::copy(b.begin(), b.end(), right.data() + kPrefix);
    uint8_t* const out = (aliasing == Aliasing::kOutIsA   ? left
                          : aliasing == Aliasing::kOutIsB ? right
                                                          : separate)
                             .data();
    args.size = size;
    args.a = left.data() + kPrefix;
    args.b = right.data() + kPrefix;
    args.out = out + kPrefix;
    GetParam().kernels->add_u8(args);
    for (size_t i = 0; i < size; ++i) {
      ASSERT_EQ(args.out[i], expected_add(args, a[i], b[i]))
          << "element " << i << " of " << size << ": a " << int{a[i]} << " - " << args.a_zero_point
          << " times " << args.a_multiplier << ", b " << int{b[i]} << " - " << args.b_zero_point
          << " times " << args.b_multiplier << ", zero point " << args.zero_point << ", lo "
          << args.lo << ", hi " << args.hi;
    }
    ASSERT_TRUE(std::all_of(out, out + kPrefix, [](uint8_t x) { return x == kUntouched; }))
        << "wrote before the output of size " << size;
  }

  static std::vector<uint8_t> random_bytes(Random& random, size_t size) {
    std::vector<uint8_t> bytes(size);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.uniform(0, 255));
    return bytes;
  }
};

AddU8 parameters(int32_t a_zero_point, float a_multiplier, int32_t b_zero_point, float b_multiplier,
                 int32_t zero_point, int32_t lo = 0, int32_t hi = 255) {
  AddU8 args{};
  args.a_zero_point = a_zero_point;
  args.a_multiplier = a_multiplier;
  args.b_zero_point = b_zero_point;
  args.b_multiplier = b_multiplier;
  args.zero_point = zero_point;
  args.lo = lo;
  args.hi = hi;
  return args;
}

TEST_P(AddTest, EverySizeAndAliasing) {
  Random random;
  for (size_t size = 0; size <= 200; ++size) {
    const std::vector<uint8_t> a = random_bytes(random, size);
    const std::vector<uint8_t> b = random_bytes(random, size);
    for (Aliasing aliasing : {Aliasing::kNone, Aliasing::kOutIsA, Aliasing::kOutIsB}) {
      ASSERT_NO_FATAL_FAILURE(check(parameters(3, 0.7f, 130, 0.41f, 90), a, b, aliasing));
    }
  }
}

TEST_P(AddTest, AcceptsNullForSizeZero) {
  GetParam().kernels->add_u8(parameters(0, 1.0f, 0, 1.0f, 0));
}

// Every pair of values, among them every tie: with multipliers of 1/2 each odd sum is one, with 1/4
// each sum that is 2 modulo 4.
TEST_P(AddTest, EveryPair) {
  std::vector<uint8_t> a(65536);
  std::vector<uint8_t> b(65536);
  for (size_t i = 0; i < a.size(); ++i) {
    a[i] = static_cast<uint8_t>(i >> 8);
    b[i] = static_cast<uint8_t>(i);
  }
  for (const AddU8& args :
       {parameters(0, 0.5f, 0, 0.5f, 0), parameters(128, 0.5f, 127, 0.5f, 128),
        parameters(255, 0.25f, 1, 0.25f, 255), parameters(17, 0.1f, 200, 0.9f, 101, 101),
        parameters(128, 1.0f / 3.0f, 128, 2.0f / 3.0f, 64, 64, 211)}) {
    ASSERT_NO_FATAL_FAILURE(check(args, a, b));
  }
}

TEST_P(AddTest, EveryZeroPoint) {
  Random random;
  const std::vector<uint8_t> a = random_bytes(random, 259);
  const std::vector<uint8_t> b = random_bytes(random, 259);
  for (int32_t z = 0; z < 256; ++z) {
    ASSERT_NO_FATAL_FAILURE(check(parameters(z, 0.5f, 255 - z, 0.5f, z), a, b));
    ASSERT_NO_FATAL_FAILURE(check(parameters(91, 0.5f, z, 0.83f, 255 - z), a, b));
  }
}

// Overflow to infinity, infinity minus infinity, and results that vanish.
TEST_P(AddTest, ExtremeMultipliers) {
  Random random;
  const std::vector<uint8_t> a = random_bytes(random, 300);
  const std::vector<uint8_t> b = random_bytes(random, 300);
  const float multipliers[] = {0.0f, 1e-45f, 1e-38f, 1e-6f, 255.0f, 1e9f, 1e36f, 3.4e38f};
  for (float left : multipliers) {
    for (float right : multipliers) {
      ASSERT_NO_FATAL_FAILURE(check(parameters(128, left, 127, right, 55, 20, 240), a, b));
    }
  }
}

TEST_P(AddTest, Random) {
  Random random;
  for (int round = 0; round < 500; ++round) {
    const size_t size = static_cast<size_t>(random.uniform(0, 600));
    const auto byte = [&](int64_t lo) { return static_cast<int32_t>(random.uniform(lo, 255)); };
    const int32_t lo = byte(0);
    const AddU8 args = parameters(byte(0), random.uniform_float(0.001f, 3.0f), byte(0),
                                  random.uniform_float(0.001f, 3.0f), byte(0), lo, byte(lo));
    ASSERT_NO_FATAL_FAILURE(check(args, random_bytes(random, size), random_bytes(random, size),
                                  static_cast<Aliasing>(random.uniform(0, 2))));
  }
}

INSTANTIATE_TEST_SUITE_P(, AddTest, ::testing::ValuesIn(kCandidates), [](const auto& candidate) {
  return std::string(candidate.param.kernels->name);
});

}  // namespace
}  // namespace wbcq
