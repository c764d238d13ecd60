// Convolution in float as an indirect GEMM; ops/conv2d_gemm.cc explains the shape of it.
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/aligned_buffer.h"
#include "format/message.h"
#include "kernels/gemm_f32/pack.h"
#include "ops/conv2d_f32.h"
#include "ops/gemm_schedule.h"
#include "ops/indirection.h"

namespace wbcq {
namespace {

// Kernel rows whose input pixels lie side by side are one segment, as in ops/conv2d_gemm.cc. The
// products keep their order, so the bits do not change.
bool can_fuse_kernel_row(const Conv2dF32Spec& spec) {
  const TensorLayout& layout = spec.inputs[0]->layout;
  return spec.groups == 1 && spec.inputs.size() == 1 && spec.x.kernel > 1 && spec.x.dilation == 1 &&
         layout.pixel_stride == spec.inputs[0]->pixel_bytes() &&
         spec.x.reach_before() <= static_cast<int64_t>(layout.halo.left) &&
         spec.x.reach_beyond() <= static_cast<int64_t>(layout.halo.right);
}

WindowAxis one_tap(WindowAxis axis) {
  axis.kernel = 1;
  return axis;
}

class ConvGemmF32Op final : public Op {
 public:
  explicit ConvGemmF32Op(const Conv2dF32Spec& spec)
      : Op(spec.name, "conv2d", spec.kernels->gemm_f32->name),
        kernel_(*spec.kernels->gemm_f32),
        inputs_(spec.inputs),
        output_(*spec.output),
        residual_(spec.residual),
        lo_(spec.lo),
        hi_(spec.hi),
        group_inputs_(spec.in_channels_per_group()) {
    const bool fused = can_fuse_kernel_row(spec);
    for (const Tensor* input : inputs_) {
      indirections_.emplace_back(spec.y, fused ? one_tap(spec.x) : spec.x, input->layout);
    }
    const size_t fused_taps = fused ? static_cast<size_t>(spec.x.kernel) : 1;
    for (size_t tap = 0; tap < spec.taps(); tap += fused_taps) {
      for (const Tensor* input : inputs_) {
        const size_t channels = inputs_.size() == 1 ? group_inputs_ : input->channels;
        steps_.push_back(static_cast<uint32_t>(fused_taps * channels));
      }
    }
    cost_ = conv2d_f32_cost(spec);
  }

  Status pack(const Conv2dF32Spec& spec);

  size_t packed_bytes() const override { return packed_.size() + padding_.size(); }
  bool may_overwrite(size_t input) const override { return input == inputs_.size(); }
  std::unique_ptr<OpPlan> plan(size_t batch, size_t threads) const override;

  void run_unit(const GemmSchedule& schedule, size_t unit, const OpBuffers& buffers,
                const float** lhs) const;
  size_t pointers_per_tile() const { return steps_.size() * kernel_.mr; }

 private:
  // nr output channels of one group.
  struct Panel {
    size_t offset;  // into packed_
    size_t group;
    size_t out_channel;
    size_t columns;
  };

  void expand(size_t group, const GemmSchedule& schedule, Range tiles, const OpBuffers& buffers,
              const float** lhs) const;

  const GemmF32Kernel& kernel_;
  std::vector<const Tensor*> inputs_;
  const Tensor& output_;
  const Tensor* residual_;
  float lo_;
  float hi_;
  size_t group_inputs_;
  std::vector<Indirection> indirections_;  // of each input
  std::vector<uint32_t> steps_;            // of the segments: for each tap, for each input
  std::vector<Panel> panels_;
  AlignedBuffer packed_;
  AlignedBuffer padding_;  // zeros
};

class ConvGemmF32Plan final : public OpPlan {
 public:
  ConvGemmF32Plan(const ConvGemmF32Op& op, const GemmSchedule& schedule)
      : OpPlan(schedule.units(),
               schedule.block_tiles() * op.pointers_per_tile() * sizeof(const float*)),
        op_(op),
        schedule_(schedule) {}

  void run(const OpBuffers& buffers, size_t first, size_t last, std::byte* scratch) const override {
    for (size_t unit = first; unit < last; ++unit) {
      op_.run_unit(schedule_, unit, buffers, reinterpret_cast<const float**>(scratch));
    }
  }

 private:
  const ConvGemmF32Op& op_;
  GemmSchedule schedule_;
};

Status ConvGemmF32Op::pack(const Conv2dF32Spec& spec) {
  GemmF32PackInput group = {};
  group.out_channels = spec.out_channels_per_group();
  group.total_steps = spec.taps() * group_inputs_;
  const size_t panel_bytes = gemm_f32_panel_bytes(kernel_, group.total_steps);
  const size_t group_bytes = gemm_f32_packed_bytes(kernel_, group);
  auto packed = AlignedBuffer::allocate((CheckedSize(group_bytes) * spec.groups).value(),
                                        format::cat("the packed weights of ", name()));
  if (!packed.ok()) return packed.status();
  packed_ = std::move(packed).value();
  cost_.weight_bytes = packed_.size();
  for (size_t g = 0; g < spec.groups; ++g) {
    const size_t first = g * group.out_channels;
    group.weights = spec.weights.data() + first * group.total_steps;
    group.bias = spec.bias.data() + first;
    gemm_f32_pack(kernel_, group, packed_.data() + g * group_bytes);
    for (size_t column = 0; column < group.out_channels; column += kernel_.nr) {
      panels_.push_back({g * group_bytes + column / kernel_.nr * panel_bytes, g, first + column,
                         std::min(kernel_.nr, group.out_channels - column)});
    }
  }
  const uint32_t widest = *std::max_element(steps_.begin(), steps_.end());
  auto padding =
      AlignedBuffer::allocate(widest * sizeof(float), format::cat("the padding row of ", name()));
  if (!padding.ok()) return padding.status();
  padding_ = std::move(padding).value();
  std::memset(padding_.data(), 0, padding_.size());
  return Status();
}

std::unique_ptr<OpPlan> ConvGemmF32Op::plan(size_t batch, size_t threads) const {
  size_t input_bytes = 0;
  for (const Tensor* input : inputs_) input_bytes += input->pixels() * input->pixel_bytes();
  GemmShape shape = {};
  shape.pixels = batch * output_.pixels();
  shape.panels = panels_.size();
  shape.mr = kernel_.mr;
  shape.panel_bytes = ceil_div(packed_.size(), panels_.size());
  shape.pixel_bytes =
      ceil_div(input_bytes, output_.pixels()) + steps_.size() * sizeof(const float*);
  return std::make_unique<ConvGemmF32Plan>(*this, GemmSchedule(shape, threads));
}

void ConvGemmF32Op::expand(size_t group, const GemmSchedule& schedule, Range tiles,
                           const OpBuffers& buffers, const float** lhs) const {
  for (size_t i = 0; i < inputs_.size(); ++i) {
    const auto* origin =
        reinterpret_cast<const float*>(buffers.inputs[i] + inputs_[i]->layout.origin) +
        group * group_inputs_;
    const float** pointers = lhs;
    auto cursor = indirections_[i].at(origin, schedule.pixels(tiles.begin).begin);
    for (size_t tile = tiles.begin; tile < tiles.end; ++tile, pointers += pointers_per_tile()) {
      const size_t rows = schedule.pixels(tile).size();
      indirections_[i].expand(cursor, padding_.as<const float>(), rows, inputs_.size() * rows,
                              pointers + i * rows);
    }
  }
}

void ConvGemmF32Op::run_unit(const GemmSchedule& schedule, size_t unit, const OpBuffers& buffers,
                             const float** lhs) const {
  auto* out = reinterpret_cast<float*>(buffers.outputs[0] + output_.layout.origin);
  const float* residual = nullptr;
  GemmF32Tile args = {};
  args.segments = steps_.size();
  args.steps = steps_.data();
  args.out_stride = output_.layout.pixel_stride / sizeof(float);
  if (residual_ != nullptr) {
    residual = reinterpret_cast<const float*>(buffers.inputs.back() + residual_->layout.origin);
    args.residual_stride = residual_->layout.pixel_stride / sizeof(float);
  }
  args.lo = lo_;
  args.hi = hi_;

  const Range all_tiles = schedule.tiles(unit);
  const Range panels = schedule.panels(unit);
  for (Range tiles = {all_tiles.begin, 0}; tiles.begin < all_tiles.end; tiles.begin = tiles.end) {
    tiles.end = std::min(tiles.begin + schedule.block_tiles(), all_tiles.end);
    for (size_t p = panels.begin; p < panels.end; ++p) {
      const Panel& panel = panels_[p];
      if (p == panels.begin || panel.group != panels_[p - 1].group) {
        expand(panel.group, schedule, tiles, buffers, lhs);
      }
      args.panel = reinterpret_cast<const float*>(packed_.data() + panel.offset);
      args.cols = panel.columns;
      args.lhs = lhs;
      for (size_t tile = tiles.begin; tile < tiles.end; ++tile) {
        const Range pixels = schedule.pixels(tile);
        args.rows = pixels.size();
        args.out = out + pixels.begin * args.out_stride + panel.out_channel;
        if (residual != nullptr) {
          args.residual = residual + pixels.begin * args.residual_stride + panel.out_channel;
        }
        kernel_.run(args);
        args.lhs += pointers_per_tile();
      }
    }
  }
}

}  // namespace

Result<std::unique_ptr<Op>> make_conv2d_f32_gemm(const Conv2dF32Spec& spec) {
  auto op = std::make_unique<ConvGemmF32Op>(spec);
  WBCQ_RETURN_IF_ERROR(op->pack(spec));
  return std::unique_ptr<Op>(std::move(op));
}

}  // namespace wbcq
