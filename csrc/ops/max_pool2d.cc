#include "ops/pool2d.h"
#include "ops/row_plan.h"

namespace wbcq {
namespace {

// The maximum of a window is the maximum over its columns of the maximum over its rows: an output
// row first meets the rows under it, which are long runs of bytes, then the columns of the result.
class MaxPool2dOp final : public PoolOp {
 public:
  explicit MaxPool2dOp(const OpSource& source)
      : PoolOp(source, "max_pool2d", source.kernels->pool->name), whole_{0, 0} {
    if (x().kernel == 0) return;
    const auto is_whole = [this](int64_t o) { return x().taps_inside(o).size() == x().kernel; };
    while (whole_.begin < x().out && !is_whole(whole_.begin)) ++whole_.begin;
    whole_.end = whole_.begin;
    while (whole_.end < x().out && is_whole(whole_.end)) ++whole_.end;
  }

  std::unique_ptr<OpPlan> plan(size_t batch, size_t /*threads*/) const override {
    const size_t taps = std::max(most_taps(y()), most_taps(x()));
    return std::make_unique<RowPlan<MaxPool2dOp>>(*this, batch * output().height,
                                                  line_bytes() + taps * sizeof(const uint8_t*));
  }

  // Output rows [first, last), counted through all pictures.
  void run_rows(const OpBuffers& buffers, size_t first, size_t last, std::byte* scratch) const {
    const TensorLayout& in = input().layout;
    auto* line = reinterpret_cast<uint8_t*>(scratch);
    auto** taps = reinterpret_cast<const uint8_t**>(scratch + line_bytes());
    for (size_t row = first; row < last; ++row) {
      const auto* picture = reinterpret_cast<const uint8_t*>(
          buffers.inputs[0] + in.origin + row / output().height * in.picture_stride);
      const auto oy = static_cast<int64_t>(row % output().height);
      pool_rows(picture, pixels_inside(y(), oy), line, taps);
      pool_columns(line, taps,
                   reinterpret_cast<uint8_t*>(buffers.outputs[0]) + output().row_offset(row));
    }
  }

 private:
  size_t line_bytes() const { return round_up(input().width * input().layout.pixel_stride, 64); }

  void pool_rows(const uint8_t* picture, WindowAxis::Span rows, uint8_t* line,
                 const uint8_t** taps) const {
    const TensorLayout& in = input().layout;
    MaxPoolRow args = {};
    for (int64_t iy = rows.begin; iy < rows.end; iy += y().dilation) {
      taps[args.taps++] = picture + iy * static_cast<ptrdiff_t>(in.row_stride);
    }
    args.rows = taps;
    args.in_stride = args.out_stride = in.pixel_stride;
    args.out = line;
    // Between the pixels of a view are those of another, which somebody may be writing.
    args.pixels = input().is_view ? input().width : 1;
    args.channels = input().is_view ? input().channels : input().width * in.pixel_stride;
    kernels().pool->max_pool(args);
  }

  // Whole windows all at once, those that the edge cuts one by one.
  void pool_columns(const uint8_t* line, const uint8_t** taps, uint8_t* out) const {
    const size_t pixel_stride = input().layout.pixel_stride;
    MaxPoolRow args = {};
    args.channels = output().channels;
    args.rows = taps;
    args.in_stride = static_cast<size_t>(x().stride) * pixel_stride;
    args.out_stride = output().layout.pixel_stride;
    for (int64_t ox = 0; ox < x().out;) {
      const int64_t end = ox == whole_.begin && whole_.size() > 0 ? whole_.end : ox + 1;
      const WindowAxis::Span columns = pixels_inside(x(), ox);
      args.taps = 0;
      for (int64_t ix = columns.begin; ix < columns.end; ix += x().dilation) {
        taps[args.taps++] = line + static_cast<size_t>(ix) * pixel_stride;
      }
      args.pixels = static_cast<size_t>(end - ox);
      args.out = out + static_cast<size_t>(ox) * args.out_stride;
      kernels().pool->max_pool(args);
      ox = end;
    }
  }

  WindowAxis::Span whole_;  // outputs whose windows the left and right edges do not cut
};

class MaxPool2dF32Op final : public Pool2d<float> {
 public:
  explicit MaxPool2dF32Op(const OpSource& source)
      : Pool2d(source, "max_pool2d", source.kernels->pool_f32->name) {}

 private:
  void run_window(const Window& window) const override {
    kernels().pool_f32->max_pool({window.taps, output().channels, window.rows, window.out});
  }
};

}  // namespace

Result<std::unique_ptr<Op>> make_max_pool2d(const OpSource& source) {
  if (source.inputs[0]->dtype == format::DType::kF32) {
    return std::unique_ptr<Op>(std::make_unique<MaxPool2dF32Op>(source));
  }
  return std::unique_ptr<Op>(std::make_unique<MaxPool2dOp>(source));
}

}  // namespace wbcq
