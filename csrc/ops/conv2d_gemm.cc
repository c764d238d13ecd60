// Convolution as an indirect GEMM over M = output pixels of all pictures, N = output channels,
// K = kernel taps x input channels.
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/aligned_buffer.h"
#include "format/message.h"
#include "kernels/gemm/pack.h"
#include "ops/conv2d.h"
#include "ops/gemm_schedule.h"
#include "ops/indirection.h"

namespace wbcq {
namespace {

// Kernel rows whose input pixels lie side by side are read as one segment: a 7x7 stem over 3
// channels takes 7 segments of 21 bytes, not 49 of 3.
bool can_fuse_kernel_row(const Conv2dSpec& spec) {
  const TensorLayout& layout = spec.input->layout;
  return spec.groups == 1 && spec.x.kernel > 1 && spec.x.dilation == 1 &&
         layout.pixel_stride == spec.input->channels &&
         spec.x.reach_before() <= static_cast<int64_t>(layout.halo.left) &&
         spec.x.reach_beyond() <= static_cast<int64_t>(layout.halo.right);
}

class ConvGemmOp final : public Op {
 public:
  explicit ConvGemmOp(const Conv2dSpec& spec)
      : Op(spec.name, "conv2d", spec.kernels->gemm->name),
        kernel_(*spec.kernels->gemm),
        input_(*spec.input),
        output_(*spec.output),
        residual_(spec.residual),
        residual_multiplier_(spec.residual_multiplier),
        lo_(spec.lo),
        hi_(spec.hi),
        fused_(can_fuse_kernel_row(spec)),
        taps_(fused_ ? static_cast<size_t>(spec.y.kernel) : spec.taps()),
        tap_channels_(spec.in_channels_per_group() *
                      (fused_ ? static_cast<size_t>(spec.x.kernel) : 1)),
        merged_(std::clamp<size_t>(kernel_.nr / spec.out_channels_per_group(), 1, spec.groups)),
        indirection_(spec.y, fused_ ? fused_axis(spec.x) : spec.x, input_.layout) {
    cost_ = conv2d_cost(spec);
  }

  Status pack(const Conv2dSpec& spec);

  size_t packed_bytes() const override { return packed_.size() + padding_.size(); }
  bool may_overwrite(size_t input) const override { return input == 1; }
  std::unique_ptr<OpPlan> plan(size_t batch, size_t threads) const override;

  void run_unit(const GemmSchedule& schedule, size_t unit, const OpBuffers& buffers,
                const uint8_t** lhs) const;
  size_t pointers_per_tile() const { return indirection_.segments() * kernel_.mr; }

 private:
  // nr output channels of one block of merged groups.
  struct Panel {
    size_t offset;  // into packed_
    size_t block;
    size_t out_channel;
    size_t columns;
  };

  static WindowAxis fused_axis(WindowAxis x) {
    x.kernel = 1;
    return x;
  }
  Status pack_block(const Conv2dSpec& spec, size_t block, std::byte* packed) const;
  GemmPackInput block_shape(const Conv2dSpec& spec, size_t block, uint32_t* channels,
                            int32_t* zero_point) const;
  void expand(size_t block, const GemmSchedule& schedule, Range tiles, const uint8_t* origin,
              const uint8_t** lhs) const;
  // What the kernels of panel `p` should bring into L2 for those who come after them.
  struct Prefetch {
    const std::byte* begin = nullptr;
    const std::byte* end = nullptr;
  };
  Prefetch next_panel(const GemmSchedule& schedule, Range panels, size_t p, bool first_block) const;

  const GemmKernel& kernel_;
  const Tensor& input_;
  const Tensor& output_;
  const Tensor* residual_;
  float residual_multiplier_;
  int32_t lo_;
  int32_t hi_;
  bool fused_;
  size_t taps_;          // segments of the GEMM
  size_t tap_channels_;  // input channels of one group that a segment reads
  // Groups are merged while their output channels fit one panel: a block-diagonal weight matrix
  // that costs no more than its groups one by one, and a fraction of the calls.
  size_t merged_;
  Indirection indirection_;
  std::vector<std::vector<uint32_t>> steps_;  // of each block's segments
  std::vector<Panel> panels_;
  AlignedBuffer packed_;
  AlignedBuffer padding_;
};

class ConvGemmPlan final : public OpPlan {
 public:
  ConvGemmPlan(const ConvGemmOp& op, const GemmSchedule& schedule)
      : OpPlan(schedule.units(),
               schedule.block_tiles() * op.pointers_per_tile() * sizeof(const uint8_t*)),
        op_(op),
        schedule_(schedule) {}

  void run(const OpBuffers& buffers, size_t first, size_t last, std::byte* scratch) const override {
    for (size_t unit = first; unit < last; ++unit) {
      op_.run_unit(schedule_, unit, buffers, reinterpret_cast<const uint8_t**>(scratch));
    }
  }

 private:
  const ConvGemmOp& op_;
  GemmSchedule schedule_;
};

GemmPackInput ConvGemmOp::block_shape(const Conv2dSpec& spec, size_t block, uint32_t* channels,
                                      int32_t* zero_point) const {
  const size_t groups = std::min(merged_, spec.groups - block * merged_);
  *channels = static_cast<uint32_t>(groups * tap_channels_);
  *zero_point = input_.zero_point;
  GemmPackInput shape = {};
  shape.out_channels = groups * spec.out_channels_per_group();
  shape.taps = taps_;
  shape.slices = {channels, 1};
  shape.zero_points = {zero_point, 1};
  return shape;
}

Status ConvGemmOp::pack(const Conv2dSpec& spec) {
  const size_t blocks = ceil_div(spec.groups, merged_);
  CheckedSize bytes = 0;
  std::vector<size_t> offsets;
  for (size_t block = 0; block < blocks; ++block) {
    uint32_t channels;
    int32_t zero_point;
    const GemmPackInput shape = block_shape(spec, block, &channels, &zero_point);
    const size_t steps = ceil_div(channels, kernel_.kr);
    steps_.emplace_back(taps_, static_cast<uint32_t>(steps));
    const size_t panel_bytes = gemm_panel_bytes(kernel_, steps * taps_);
    offsets.push_back(bytes.value());
    for (size_t column = 0; column < shape.out_channels; column += kernel_.nr) {
      panels_.push_back({bytes.value(), block,
                         block * merged_ * spec.out_channels_per_group() + column,
                         std::min(kernel_.nr, shape.out_channels - column)});
      bytes = bytes + panel_bytes;
    }
  }
  auto packed =
      AlignedBuffer::allocate(bytes.value(), format::cat("the packed weights of ", name()));
  if (!packed.ok()) return packed.status();
  packed_ = std::move(packed).value();
  cost_.weight_bytes = packed_.size();
  for (size_t block = 0; block < blocks; ++block) {
    WBCQ_RETURN_IF_ERROR(pack_block(spec, block, packed_.data() + offsets[block]));
  }
  if (indirection_.needs_padding()) {
    const size_t row = steps_[0][0] * kernel_.kr;
    auto padding = AlignedBuffer::allocate(row, format::cat("the padding row of ", name()));
    if (!padding.ok()) return padding.status();
    padding_ = std::move(padding).value();
    std::memset(padding_.data(), input_.zero_point, row);
  }
  return Status();
}

Status ConvGemmOp::pack_block(const Conv2dSpec& spec, size_t block, std::byte* packed) const {
  uint32_t channels;
  int32_t zero_point;
  GemmPackInput input = block_shape(spec, block, &channels, &zero_point);
  const size_t first = block * merged_ * spec.out_channels_per_group();
  const size_t depth = taps_ * tap_channels_;  // weights of one output channel
  input.weights = spec.weights.data() + first * depth;
  input.bias = spec.bias.empty() ? nullptr : spec.bias.data() + first;
  input.float_bias = spec.float_bias.empty() ? nullptr : spec.float_bias.data() + first;
  input.multipliers = spec.multipliers.data() + first;

  AlignedBuffer diagonal;
  if (channels != tap_channels_) {
    const CheckedSize bytes = CheckedSize(input.out_channels) * taps_ * channels;
    auto buffer = AlignedBuffer::allocate(bytes.value(), format::cat("the weights of ", name()));
    if (!buffer.ok()) return buffer.status();
    diagonal = std::move(buffer).value();
    std::memset(diagonal.data(), 0, diagonal.size());
    for (size_t o = 0; o < input.out_channels; ++o) {
      const size_t column = o / spec.out_channels_per_group() * tap_channels_;
      for (size_t tap = 0; tap < taps_; ++tap) {
        std::memcpy(diagonal.data() + (o * taps_ + tap) * channels + column,
                    input.weights + o * depth + tap * tap_channels_, tap_channels_);
      }
    }
    input.weights = diagonal.as<int8_t>();
  }
  gemm_pack(kernel_, input, packed);
  return Status();
}

std::unique_ptr<OpPlan> ConvGemmOp::plan(size_t batch, size_t threads) const {
  GemmShape shape = {};
  shape.pixels = batch * output_.pixels();
  shape.panels = panels_.size();
  shape.mr = kernel_.mr;
  shape.panel_bytes = ceil_div(packed_.size(), panels_.size());
  shape.pixel_bytes = ceil_div(input_.pixels() * input_.layout.pixel_stride, output_.pixels()) +
                      indirection_.segments() * sizeof(const uint8_t*);
  return std::make_unique<ConvGemmPlan>(*this, GemmSchedule(shape, threads));
}

void ConvGemmOp::expand(size_t block, const GemmSchedule& schedule, Range tiles,
                        const uint8_t* origin, const uint8_t** lhs) const {
  origin += block * merged_ * tap_channels_;
  const uint8_t* padding = padding_.as<const uint8_t>();
  for (size_t tile = tiles.begin; tile < tiles.end; ++tile, lhs += pointers_per_tile()) {
    const Range pixels = schedule.pixels(tile);
    indirection_.expand(origin, padding, pixels.begin, pixels.size(), pixels.size(), lhs);
  }
}

// In the first block of tiles every panel comes from L3 or memory, later on those that L2 cannot
// keep.
ConvGemmOp::Prefetch ConvGemmOp::next_panel(const GemmSchedule& schedule, Range panels, size_t p,
                                            bool first_block) const {
  if (!first_block && schedule.weights_stay()) return {};
  if (p + 1 == panels.end) return {};
  const size_t end = p + 2 < panels_.size() ? panels_[p + 2].offset : packed_.size();
  return {packed_.data() + panels_[p + 1].offset, packed_.data() + end};
}

void ConvGemmOp::run_unit(const GemmSchedule& schedule, size_t unit, const OpBuffers& buffers,
                          const uint8_t** lhs) const {
  const auto* origin = reinterpret_cast<const uint8_t*>(buffers.inputs[0]) + input_.layout.origin;
  const auto* residual =
      residual_ != nullptr ? reinterpret_cast<const uint8_t*>(buffers.inputs[1]) : nullptr;
  std::byte* out = buffers.outputs[0];
  const bool head = output_.dtype == format::DType::kF32;
  const size_t element_bytes = output_.element_bytes();
  const GemmTileFn run_tile = head ? kernel_.run_f32 : kernel_.run_u8;

  GemmTile args = {};
  args.segments = taps_;
  args.out_stride = output_.layout.pixel_stride;
  args.residual_stride = residual_ != nullptr ? residual_->layout.pixel_stride : 0;
  args.residual_multiplier = residual_multiplier_;
  args.residual_zero_point = residual_ != nullptr ? residual_->zero_point : 0;
  args.zero_point = output_.zero_point;
  args.lo = lo_;
  args.hi = hi_;

  const Range all_tiles = schedule.tiles(unit);
  const Range panels = schedule.panels(unit);
  for (Range tiles = {all_tiles.begin, 0}; tiles.begin < all_tiles.end; tiles.begin = tiles.end) {
    tiles.end = std::min(tiles.begin + schedule.block_tiles(), all_tiles.end);
    size_t expanded = steps_.size();
    for (size_t p = panels.begin; p < panels.end; ++p) {
      const Panel& panel = panels_[p];
      if (panel.block != expanded) {
        expand(panel.block, schedule, tiles, origin, lhs);
        expanded = panel.block;
      }
      args.steps = steps_[panel.block].data();
      args.panel = packed_.data() + panel.offset;
      args.cols = panel.columns;
      args.lhs = lhs;
      Prefetch prefetch = next_panel(schedule, panels, p, tiles.begin == all_tiles.begin);
      const size_t prefetch_bytes = taps_ * args.steps[0] * kGemmPrefetchBytes;
      for (size_t tile = tiles.begin; tile < tiles.end; ++tile) {
        const Range pixels = schedule.pixels(tile);
        args.rows = pixels.size();
        args.out = out + pixels.begin * args.out_stride + panel.out_channel * element_bytes;
        if (residual != nullptr) {
          args.residual = residual + pixels.begin * args.residual_stride + panel.out_channel;
        }
        args.prefetch = prefetch.begin < prefetch.end ? prefetch.begin : nullptr;
        prefetch.begin += prefetch_bytes;
        run_tile(args);
        args.lhs += pointers_per_tile();
      }
    }
  }
}

}  // namespace

Result<std::unique_ptr<Op>> make_conv2d_gemm(const Conv2dSpec& spec) {
  auto op = std::make_unique<ConvGemmOp>(spec);
  WBCQ_RETURN_IF_ERROR(op->pack(spec));
  return std::unique_ptr<Op>(std::move(op));
}

}  // namespace wbcq
