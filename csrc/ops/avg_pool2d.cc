#include <bit>

#include "ops/pool2d.h"
#include "ops/rounding.h"

namespace wbcq {
namespace {

namespace attr = format::pool2d;

template <typename T>
class AvgPool2dBase : public Pool2d<T> {
 protected:
  AvgPool2dBase(const OpSource& source, std::string_view kernel)
      : Pool2d<T>(source, "avg_pool2d", kernel),
        divisor_(source.attrs[attr::kDivisor]),
        count_include_pad_(source.attrs[attr::kCountIncludePad] != 0),
        padded_height_(this->y().in + source.attrs[attr::kPadBottom]),
        padded_width_(this->x().in + source.attrs[attr::kPadRight]) {}

  // Padding counts where the layer says so, but never what ceil mode adds beyond it.
  float divisor(const typename Pool2d<T>::Window& window) const {
    if (divisor_ != 0) return static_cast<float>(divisor_);
    if (!count_include_pad_) return static_cast<float>(window.taps);
    return static_cast<float>((std::min(window.y + this->y().kernel, padded_height_) - window.y) *
                              (std::min(window.x + this->x().kernel, padded_width_) - window.x));
  }

 private:
  int64_t divisor_;
  bool count_include_pad_;
  int64_t padded_height_;
  int64_t padded_width_;
};

class AvgPool2dOp final : public AvgPool2dBase<uint8_t> {
 public:
  explicit AvgPool2dOp(const OpSource& source)
      : AvgPool2dBase(source, source.kernels->pool->name),
        rounding_(source, {attr::kLo, attr::kHi, attr::kPreScale, attr::kPreZeroPoint}, 0),
        ratio_(input().scale / rounding_.scale()) {}

 private:
  void run_window(const Window& window) const override {
    AvgPoolPixel pixel = {};
    pixel.taps = window.taps;
    pixel.channels = output().channels;
    pixel.rows = window.rows;
    pixel.out = window.out;
    pixel.start = -static_cast<int32_t>(window.taps) * input().zero_point;
    pixel.multiplier = ratio_ / divisor(window);
    pixel.zero_point = rounding_.zero_point();
    pixel.lo = rounding_.lo();
    pixel.hi = rounding_.hi();
    kernels().pool->avg_pool(pixel);
  }

  void finish_row(uint8_t* out) const override {
    rounding_.apply_table(out, output().layout.pixel_stride, output().width, output().channels);
  }

  Rounding rounding_;
  float ratio_;
};

class AvgPool2dF32Op final : public AvgPool2dBase<float> {
 public:
  explicit AvgPool2dF32Op(const OpSource& source)
      : AvgPool2dBase(source, source.kernels->pool_f32->name),
        lo_(std::bit_cast<float>(source.attrs[attr::kLo])),
        hi_(std::bit_cast<float>(source.attrs[attr::kHi])) {}

 private:
  void run_window(const Window& window) const override {
    kernels().pool_f32->avg_pool(
        {window.taps, output().channels, window.rows, window.out, divisor(window), lo_, hi_});
  }

  float lo_;
  float hi_;
};

}  // namespace

Result<std::unique_ptr<Op>> make_avg_pool2d(const OpSource& source) {
  if (source.inputs[0]->dtype == format::DType::kF32) {
    return std::unique_ptr<Op>(std::make_unique<AvgPool2dF32Op>(source));
  }
  return std::unique_ptr<Op>(std::make_unique<AvgPool2dOp>(source));
}

}  // namespace wbcq
