// Arithmetic on sizes that come from outside, and rounding helpers.
#ifndef WBCQ_BASE_CHECKED_H_
#define WBCQ_BASE_CHECKED_H_

#include <cstddef>
#include <limits>

namespace wbcq {

// A size that remembers whether any step of its computation overflowed.
class CheckedSize {
 public:
  constexpr CheckedSize(size_t value) : value_(value) {}  // NOLINT: implicit by design
  constexpr CheckedSize operator+(CheckedSize other) const {
    CheckedSize result(0);
    result.overflow_ = __builtin_add_overflow(value_, other.value_, &result.value_);
    result.overflow_ |= overflow_ | other.overflow_;
    return result;
  }
  constexpr CheckedSize operator*(CheckedSize other) const {
    CheckedSize result(0);
    result.overflow_ = __builtin_mul_overflow(value_, other.value_, &result.value_);
    result.overflow_ |= overflow_ | other.overflow_;
    return result;
  }
  constexpr bool ok() const { return !overflow_; }
  // The value; the largest size_t after an overflow, so that allocating it fails.
  constexpr size_t value() const { return overflow_ ? std::numeric_limits<size_t>::max() : value_; }

 private:
  size_t value_;
  bool overflow_ = false;
};

constexpr size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }
constexpr size_t round_up(size_t a, size_t multiple) { return ceil_div(a, multiple) * multiple; }

// Part `index` of `count` when [0, total) is cut into parts whose sizes differ by at most one.
struct Range {
  size_t begin;
  size_t end;
  constexpr size_t size() const { return end - begin; }
};
constexpr Range split_evenly(size_t total, size_t count, size_t index) {
  return {total / count * index + (index < total % count ? index : total % count),
          total / count * (index + 1) + (index + 1 < total % count ? index + 1 : total % count)};
}

}  // namespace wbcq

#endif  // WBCQ_BASE_CHECKED_H_
