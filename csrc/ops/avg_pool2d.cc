#include "ops/pool2d.h"

namespace wbcq {
namespace {

namespace attr = format::pool2d;

class AvgPool2dOp final : public Pool2d {
 public:
  explicit AvgPool2dOp(const OpSource& source)
      : Pool2d(source, "avg_pool2d"),
        ratio_(input().scale / output().scale),
        divisor_(source.attrs[attr::kDivisor]),
        count_include_pad_(source.attrs[attr::kCountIncludePad] != 0),
        padded_height_(y().in + source.attrs[attr::kPadBottom]),
        padded_width_(x().in + source.attrs[attr::kPadRight]),
        lo_(source.attrs[attr::kLo]),
        hi_(source.attrs[attr::kHi]) {}

 private:
  void run_window(const Window& window) const override {
    AvgPoolPixel pixel = {};
    pixel.taps = window.taps;
    pixel.channels = output().channels;
    pixel.rows = window.rows;
    pixel.out = window.out;
    pixel.start = -static_cast<int32_t>(window.taps) * input().zero_point;
    pixel.multiplier = ratio_ / static_cast<float>(divisor(window));
    pixel.zero_point = output().zero_point;
    pixel.lo = lo_;
    pixel.hi = hi_;
    kernels().pool->avg_pool(pixel);
  }

  // Padding counts where the layer says so, but never what ceil mode adds beyond it.
  int64_t divisor(const Window& window) const {
    if (divisor_ != 0) return divisor_;
    if (!count_include_pad_) return static_cast<int64_t>(window.taps);
    return (std::min(window.y + y().kernel, padded_height_) - window.y) *
           (std::min(window.x + x().kernel, padded_width_) - window.x);
  }

  float ratio_;
  int64_t divisor_;
  bool count_include_pad_;
  int64_t padded_height_;
  int64_t padded_width_;
  int32_t lo_;
  int32_t hi_;
};

}  // namespace

Result<std::unique_ptr<Op>> make_avg_pool2d(const OpSource& source) {
  return std::unique_ptr<Op>(std::make_unique<AvgPool2dOp>(source));
}

}  // namespace wbcq
