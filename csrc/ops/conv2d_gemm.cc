// Convolution as an indirect GEMM over M = output pixels of all pictures, N = output channels,
// K = kernel taps x input channels.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "base/aligned_buffer.h"
#include "format/message.h"
#include "kernels/gemm/pack.h"
#include "ops/conv2d.h"
#include "ops/gemm_schedule.h"
#include "ops/indirection.h"

namespace wbcq {
namespace {

// Kernel rows whose input pixels lie side by side are read as one segment of each input: a 7x7 stem
// over 3 channels takes 7 segments of 21 bytes, not 49 of 3.
bool can_fuse_kernel_row(const Conv2dSpec& spec) {
  if (spec.groups != 1 || spec.x.kernel == 1 || spec.x.dilation != 1) return false;
  return std::all_of(spec.inputs.begin(), spec.inputs.end(), [&](const Tensor* input) {
    const TensorLayout& layout = input->layout;
    return layout.pixel_stride == input->channels &&
           spec.x.reach_before() <= static_cast<int64_t>(layout.halo.left) &&
           spec.x.reach_beyond() <= static_cast<int64_t>(layout.halo.right);
  });
}

class ConvGemmOp final : public Conv2dGemm {
 public:
  explicit ConvGemmOp(const Conv2dSpec& spec)
      : Conv2dGemm(spec.name, "conv2d", spec.kernels->gemm->name),
        kernel_(*spec.kernels->gemm),
        inputs_(spec.inputs),
        output_(*spec.output),
        residual_(spec.residual),
        residual_multiplier_(spec.residual_multiplier),
        rounding_(*spec.rounding),
        wide_(may_leave_int32(spec)),
        row_taps_(can_fuse_kernel_row(spec) ? static_cast<size_t>(spec.x.kernel) : 1),
        taps_(spec.taps() / row_taps_),
        tap_channels_(spec.in_channels_per_group() * row_taps_),
        merged_(std::clamp<size_t>(kernel_.lanes / spec.out_channels_per_group(), 1, spec.groups)) {
    for (const Tensor* input : inputs_) {
      indirections_.emplace_back(spec.y, row_taps_ > 1 ? fused_axis(spec.x) : spec.x,
                                 input->layout);
    }
    cost_ = conv2d_cost(spec);
  }

  Status pack(const Conv2dSpec& spec);

  size_t packed_bytes() const override { return packed_.size() + padding_.size(); }
  bool may_overwrite(size_t input) const override { return input == inputs_.size(); }
  const int8_t* panel_weights(size_t panel) const override {
    const std::byte* begin = packed_.data() + panels_[panel].offset;
    return reinterpret_cast<const int8_t*>(begin + gemm_header_bytes(kernel_));
  }
  std::unique_ptr<OpPlan> plan(size_t batch, size_t threads) const override;

  void run_unit(const GemmSchedule& schedule, size_t unit, const OpBuffers& buffers,
                const uint8_t** lhs) const;
  size_t pointers_per_tile() const { return segments() * kernel_.mr; }

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
  // The inputs of one block of merged groups.
  struct Slices {
    std::vector<uint32_t> channels;
    std::vector<int32_t> zero_points;

    size_t total() const { return std::accumulate(channels.begin(), channels.end(), size_t{0}); }
  };
  Slices block_slices(const Conv2dSpec& spec, size_t block) const;
  GemmPackInput block_shape(const Conv2dSpec& spec, size_t block, const Slices& slices) const;
  Status allocate_padding();
  // Of every group's channels, and what the last step of the last group reads past them.
  size_t padding_bytes(size_t input) const {
    const size_t last = (steps_.size() - 1) * block_channels();
    return round_up(last + steps_.back()[input] * kernel_.kr, kBufferAlignment);
  }
  size_t segments() const { return taps_ * inputs_.size(); }
  size_t block_channels() const { return merged_ * tap_channels_; }  // input channels of a block
  size_t total_steps(size_t block) const {
    return std::accumulate(steps_[block].begin(), steps_[block].end(), size_t{0});
  }
  void expand(const GemmSchedule& schedule, Range tiles, const OpBuffers& buffers,
              const uint8_t** lhs) const;
  // What the kernels of panel `p` should bring into L2 for those who come after them.
  struct Prefetch {
    const std::byte* begin = nullptr;
    const std::byte* end = nullptr;
  };
  Prefetch next_panel(const GemmSchedule& schedule, Range panels, size_t p, bool first_block) const;

  const GemmKernel& kernel_;
  std::vector<const Tensor*> inputs_;
  const Tensor& output_;
  const Tensor* residual_;
  float residual_multiplier_;
  Rounding rounding_;
  bool wide_;
  size_t row_taps_;      // taps of the kernel that lie side by side and are read as one
  size_t taps_;          // of those, each gives the GEMM one segment of every input
  size_t tap_channels_;  // input channels of one group that a tap reads
  // Groups are merged while their output channels fit one vector: a block-diagonal weight matrix
  // that costs no more than its groups one by one, and a fraction of the calls.
  size_t merged_;
  std::vector<Indirection> indirections_;     // of each input
  std::vector<std::vector<uint32_t>> steps_;  // of each block's segments
  std::vector<Panel> panels_;
  AlignedBuffer packed_;
  std::vector<size_t> padding_rows_;  // where the padding row of each input lies
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

ConvGemmOp::Slices ConvGemmOp::block_slices(const Conv2dSpec& spec, size_t block) const {
  Slices slices;
  if (inputs_.size() == 1) {
    const size_t groups = std::min(merged_, spec.groups - block * merged_);
    slices.channels = {static_cast<uint32_t>(groups * tap_channels_)};
  } else {
    for (const Tensor* input : inputs_) {
      slices.channels.push_back(static_cast<uint32_t>(input->channels * row_taps_));
    }
  }
  for (const Tensor* input : inputs_) slices.zero_points.push_back(input->zero_point);
  return slices;
}

GemmPackInput ConvGemmOp::block_shape(const Conv2dSpec& spec, size_t block,
                                      const Slices& slices) const {
  const size_t groups = std::min(merged_, spec.groups - block * merged_);
  GemmPackInput shape = {};
  shape.out_channels = groups * spec.out_channels_per_group();
  shape.taps = taps_;
  shape.slices = slices.channels;
  shape.zero_points = slices.zero_points;
  return shape;
}

Status ConvGemmOp::pack(const Conv2dSpec& spec) {
  const size_t blocks = ceil_div(spec.groups, merged_);
  CheckedSize bytes = 0;
  std::vector<size_t> offsets;
  for (size_t block = 0; block < blocks; ++block) {
    const Slices slices = block_slices(spec, block);
    const GemmPackInput shape = block_shape(spec, block, slices);
    std::vector<uint32_t>& steps = steps_.emplace_back();
    for (size_t tap = 0; tap < taps_; ++tap) {
      for (const uint32_t channels : slices.channels) {
        steps.push_back(static_cast<uint32_t>(ceil_div(channels, kernel_.kr)));
      }
    }
    const size_t panel_bytes =
        gemm_panel_bytes(kernel_, gemm_total_steps(kernel_.kr, taps_, slices.channels));
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
  return allocate_padding();
}

Status ConvGemmOp::allocate_padding() {
  CheckedSize bytes = 0;
  for (size_t i = 0; i < inputs_.size(); ++i) {
    padding_rows_.push_back(bytes.value());
    if (indirections_[i].needs_padding()) {
      bytes = bytes + padding_bytes(i);
    }
  }
  auto padding = AlignedBuffer::allocate(bytes.value(), format::cat("the padding row of ", name()));
  if (!padding.ok()) return padding.status();
  padding_ = std::move(padding).value();
  for (size_t i = 0; i < inputs_.size(); ++i) {
    if (!indirections_[i].needs_padding()) continue;
    std::memset(padding_.data() + padding_rows_[i], inputs_[i]->zero_point, padding_bytes(i));
  }
  return Status();
}

Status ConvGemmOp::pack_block(const Conv2dSpec& spec, size_t block, std::byte* packed) const {
  const Slices slices = block_slices(spec, block);
  const size_t channels = slices.total();
  GemmPackInput input = block_shape(spec, block, slices);
  const size_t first = block * merged_ * spec.out_channels_per_group();
  const size_t depth = taps_ * tap_channels_;  // weights of one output channel
  const int8_t* weights = spec.weights.data() + first * depth;
  input.weights = weights;
  input.bias = spec.bias.empty() ? nullptr : spec.bias.data() + first;
  input.float_bias = spec.float_bias.empty() ? nullptr : spec.float_bias.data() + first;
  input.multipliers = spec.multipliers.data() + first;

  AlignedBuffer rearranged;
  const bool diagonal = channels != tap_channels_;
  const bool by_input = row_taps_ > 1 && inputs_.size() > 1;
  if (diagonal || by_input) {
    const CheckedSize bytes = CheckedSize(input.out_channels) * taps_ * channels;
    auto buffer = AlignedBuffer::allocate(bytes.value(), format::cat("the weights of ", name()));
    if (!buffer.ok()) return buffer.status();
    rearranged = std::move(buffer).value();
    input.weights = rearranged.as<int8_t>();
  }
  if (diagonal) {
    std::memset(rearranged.data(), 0, rearranged.size());
    for (size_t o = 0; o < input.out_channels; ++o) {
      const size_t column = o / spec.out_channels_per_group() * tap_channels_;
      for (size_t tap = 0; tap < taps_; ++tap) {
        std::memcpy(rearranged.data() + (o * taps_ + tap) * channels + column,
                    weights + o * depth + tap * tap_channels_, tap_channels_);
      }
    }
  } else if (by_input) {
    // From taps of all inputs side by side to the taps of each input.
    const size_t pixel = spec.in_channels();
    std::byte* to = rearranged.data();
    for (size_t row = 0; row < input.out_channels * taps_; ++row) {
      const int8_t* from = weights + row * tap_channels_;
      for (const Tensor* part : inputs_) {
        for (size_t tap = 0; tap < row_taps_; ++tap, to += part->channels) {
          std::memcpy(to, from + tap * pixel, part->channels);
        }
        from += part->channels;
      }
    }
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
  size_t input_bytes = 0;
  for (const Tensor* input : inputs_) input_bytes += input->pixels() * input->channels;
  shape.pixel_bytes = ceil_div(input_bytes, output_.pixels()) + segments() * sizeof(const uint8_t*);
  return std::make_unique<ConvGemmPlan>(*this, GemmSchedule(shape, threads));
}

void ConvGemmOp::expand(const GemmSchedule& schedule, Range tiles, const OpBuffers& buffers,
                        const uint8_t** lhs) const {
  for (size_t i = 0; i < inputs_.size(); ++i) {
    const auto* origin =
        reinterpret_cast<const uint8_t*>(buffers.inputs[i]) + inputs_[i]->layout.origin;
    const auto* padding = padding_.as<const uint8_t>() + padding_rows_[i];
    const uint8_t** pointers = lhs;
    auto cursor = indirections_[i].at(origin, schedule.pixels(tiles.begin).begin);
    for (size_t tile = tiles.begin; tile < tiles.end; ++tile, pointers += pointers_per_tile()) {
      const size_t rows = schedule.pixels(tile).size();
      indirections_[i].expand(cursor, padding, rows, inputs_.size() * rows, pointers + i * rows);
    }
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
  const uint8_t* residual = nullptr;
  if (residual_ != nullptr) {
    residual = reinterpret_cast<const uint8_t*>(buffers.inputs.back()) + residual_->layout.origin;
  }
  std::byte* out = buffers.outputs[0] + output_.layout.origin;
  const bool head = output_.dtype == format::DType::kF32;
  const size_t element_bytes = output_.element_bytes();
  const GemmTileFn run_strip = head ? kernel_.run_f32 : kernel_.run_u8;

  GemmTile args = {};
  args.segments = segments();
  args.lhs_tile_stride = pointers_per_tile();
  args.out_stride = output_.layout.pixel_stride;
  args.residual_stride = residual_ != nullptr ? residual_->layout.pixel_stride : 0;
  args.residual_multiplier = residual_multiplier_;
  args.residual_zero_point = residual_ != nullptr ? residual_->zero_point : 0;
  args.zero_point = rounding_.zero_point();
  args.lo = rounding_.lo();
  args.hi = rounding_.hi();
  args.wide = wide_;

  const Range all_tiles = schedule.tiles(unit);
  const Range panels = schedule.panels(unit);
  for (Range tiles = {all_tiles.begin, 0}; tiles.begin < all_tiles.end; tiles.begin = tiles.end) {
    tiles.end = std::min(tiles.begin + schedule.block_tiles(), all_tiles.end);
    expand(schedule, tiles, buffers, lhs);
    for (size_t p = panels.begin; p < panels.end; ++p) {
      const Panel& panel = panels_[p];
      args.steps = steps_[panel.block].data();
      args.panel = packed_.data() + panel.offset;
      args.cols = panel.columns;
      args.lhs = lhs;
      args.channel_offset = panel.block * block_channels();
      Prefetch prefetch = next_panel(schedule, panels, p, tiles.begin == all_tiles.begin);
      args.prefetch_end = prefetch.end;
      const size_t prefetch_bytes = total_steps(panel.block) * kGemmPrefetchBytes;
      for (size_t tile = tiles.begin; tile < tiles.end; tile += args.tiles) {
        const Range pixels = schedule.pixels(tile);
        args.rows = pixels.size();
        args.tiles = schedule.equal_tiles({tile, tiles.end});
        args.out = out + pixels.begin * args.out_stride + panel.out_channel * element_bytes;
        if (residual != nullptr) {
          args.residual = residual + pixels.begin * args.residual_stride + panel.out_channel;
        }
        args.prefetch = prefetch.begin < prefetch.end ? prefetch.begin : nullptr;
        prefetch.begin += args.tiles * prefetch_bytes;
        run_strip(args);
        if (rounding_.has_table()) {
          rounding_.apply_table(static_cast<uint8_t*>(args.out), args.out_stride,
                                args.tiles * args.rows, args.cols);
        }
        args.lhs += args.tiles * pointers_per_tile();
      }
    }
  }
}

}  // namespace

Result<std::unique_ptr<Conv2dGemm>> make_conv2d_gemm(const Conv2dSpec& spec) {
  auto op = std::make_unique<ConvGemmOp>(spec);
  WBCQ_RETURN_IF_ERROR(op->pack(spec));
  return std::unique_ptr<Conv2dGemm>(std::move(op));
}

}  // namespace wbcq
