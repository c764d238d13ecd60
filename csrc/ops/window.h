// One axis of a sliding window: which inputs the taps of convolutions and pools meet.
#ifndef WBCQ_OPS_WINDOW_H_
#define WBCQ_OPS_WINDOW_H_

#include <algorithm>
#include <cstdint>

namespace wbcq {

// Tap k of output o lies at input position o * stride - pad + k * dilation, which may be outside.
struct WindowAxis {
  int64_t in;
  int64_t out;
  int64_t kernel;
  int64_t stride;
  int64_t pad;
  int64_t dilation;

  int64_t position(int64_t o, int64_t k) const { return o * stride - pad + k * dilation; }

  struct Span {
    int64_t begin;
    int64_t end;
    int64_t size() const { return end - begin; }
  };

  // Outputs whose tap k lies in [lo, hi).
  Span outputs_within(int64_t k, int64_t lo, int64_t hi) const {
    const int64_t shift = pad - k * dilation;
    const Span span = {first_at_or_after(lo + shift), first_at_or_after(hi + shift)};
    return {span.begin, std::max(span.begin, span.end)};
  }

  // Taps of output o that lie inside the picture.
  Span taps_inside(int64_t o) const {
    const int64_t start = position(o, 0);
    const int64_t begin = start >= 0 ? 0 : (-start + dilation - 1) / dilation;
    const int64_t end = start >= in ? 0 : (in - start + dilation - 1) / dilation;
    return {std::min(begin, kernel), std::clamp(end, std::min(begin, kernel), kernel)};
  }

  // Pairs of an output and a tap that lie inside the picture.
  int64_t inside_count() const {
    int64_t count = 0;
    for (int64_t k = 0; k < kernel; ++k) count += outputs_within(k, 0, in).size();
    return count;
  }

  // Positions that the taps reach before and beyond the picture.
  int64_t reach_before() const { return std::max<int64_t>(0, pad); }
  int64_t reach_beyond() const {
    return std::max<int64_t>(0, position(out - 1, kernel - 1) + 1 - in);
  }

 private:
  // The smallest output o in [0, out] with o * stride >= value.
  int64_t first_at_or_after(int64_t value) const {
    return value <= 0 ? 0 : std::min(out, (value + stride - 1) / stride);
  }
};

}  // namespace wbcq

#endif  // WBCQ_OPS_WINDOW_H_
