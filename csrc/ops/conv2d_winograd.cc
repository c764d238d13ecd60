// 3x3 convolution by exact Winograd (kernels/winograd/winograd.h): 4x4 outputs of all pictures of a
// batch are its tiles.
#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

#include "base/aligned_buffer.h"
#include "format/message.h"
#include "kernels/winograd/pack.h"
#include "ops/conv2d.h"
#include "ops/indirection.h"
#include "ops/unit_plan.h"
#include "ops/winograd_schedule.h"

namespace wbcq {
namespace {

// The 6x6 inputs of a tile are what a window of six with a stride of four reads.
WindowAxis tile_axis(const WindowAxis& axis) {
  const auto tiles = static_cast<int64_t>(ceil_div(static_cast<size_t>(axis.out), kWinogradOutput));
  return {axis.in, tiles, kWinogradInput, kWinogradOutput, axis.pad, 1};
}

WinogradPackInput pack_input(const Conv2dSpec& spec) {
  WinogradPackInput input = {};
  input.out_channels = spec.output->channels;
  input.in_channels = spec.in_channels();
  input.zero_point = spec.inputs[0]->zero_point;
  input.weights = spec.weights.data();
  input.bias = spec.bias.data();
  input.multipliers = spec.multipliers.data();
  return input;
}

// Beyond this many bytes of transformed filters reading them costs more than transforming the int8
// filters, an eighth of them, for each block of tiles; and the networks that have such layers have
// several, which together leave L3 between two runs.
constexpr size_t kMostTransformedBytes = size_t{8} << 20;
constexpr size_t kTaps = 9;

// The filters of large layers stay as direct convolution packs them, if the kernel can read those.
WinogradWeightForm weight_form(const Conv2dSpec& spec) {
  const WinogradKernel& kernel = *spec.kernels->winograd;
  const GemmKernel& gemm = *spec.kernels->gemm;
  const bool can_transform = kernel.transform_weights != nullptr && gemm.nr == kernel.nr &&
                             gemm.kr == kWinogradFilterStep && spec.in_channels() % gemm.kr == 0;
  const size_t bytes =
      winograd_packed_bytes(kernel, pack_input(spec), WinogradWeightForm::kTransformed);
  return can_transform && bytes > kMostTransformedBytes ? WinogradWeightForm::kElsewhere
                                                        : WinogradWeightForm::kTransformed;
}

class ConvWinogradOp final : public Op {
 public:
  ConvWinogradOp(const Conv2dSpec& spec, size_t least_tiles)
      : Op(spec.name, "conv2d", spec.kernels->winograd->name),
        kernel_(*spec.kernels->winograd),
        least_tiles_(least_tiles),
        input_(*spec.inputs[0]),
        output_(*spec.output),
        residual_(spec.residual),
        residual_multiplier_(spec.residual_multiplier),
        rounding_(*spec.rounding),
        tiles_y_(static_cast<size_t>(tile_axis(spec.y).out)),
        tiles_x_(static_cast<size_t>(tile_axis(spec.x).out)),
        indirection_(tile_axis(spec.y), tile_axis(spec.x), spec.inputs[0]->layout),
        v_channels_(round_up(input_.channels, kernel_.channel_run)),
        panels_(ceil_div(output_.channels, kernel_.nr)),
        form_(weight_form(spec)),
        panel_bytes_(winograd_panel_bytes(kernel_, input_.channels, form_)) {
    cost_ = conv2d_cost(spec);
  }

  Status pack(const Conv2dSpec& spec);

  size_t packed_bytes() const override {
    return packed_.size() + padding_.size() + (direct_ != nullptr ? direct_->packed_bytes() : 0);
  }
  bool may_overwrite(size_t input) const override { return input == 1; }
  std::unique_ptr<OpPlan> plan(size_t batch, size_t threads) const override;

  // Where the parts of a thread's scratch begin.
  struct Scratch {
    size_t m;
    size_t u;
    size_t pixels;
    size_t places;
    size_t bytes;
  };
  Scratch scratch(size_t block_tiles) const;
  void run_unit(const WinogradSchedule& schedule, size_t unit, const OpBuffers& buffers,
                std::byte* scratch) const;

 private:
  size_t position_stride(size_t block_tiles) const {
    return round_up(block_tiles * v_channels_, 32);
  }
  // Tiles of a block that go through the kernel together, evenly: 49 and mr = 14 give 13 + 12 + 12
  // + 12.
  struct Groups {
    size_t tiles;
    size_t count;
    Range operator[](size_t i) const { return split_evenly(tiles, count, i); }
  };
  Groups groups_of(size_t tiles) const { return {tiles, ceil_div(tiles, kernel_.mr)}; }
  // Of a panel's transformed filters.
  size_t position_bytes() const {
    return winograd_steps(kernel_, input_.channels) * kernel_.kr * kernel_.nr * sizeof(int16_t);
  }
  // Two cache lines more, because several positions are written together: at a distance of a
  // multiple of 4 KB they would meet in one set of L1.
  size_t transformed_stride() const {
    return round_up(position_bytes() / sizeof(int16_t), 32) + 64;
  }
  void transform_input(const OpBuffers& buffers, Range tiles, const uint8_t** pixels,
                       int16_t* v) const;
  void multiply(const WinogradSchedule& schedule, size_t panel, Groups groups, const int16_t* v,
                int32_t* m) const;
  void transform_and_multiply(size_t panel, size_t next_panel, Groups groups, const int16_t* v,
                              int16_t* u, int32_t* m) const;
  void place(Range tiles, WinogradPlace* places) const;
  WinogradOutputTiles output_args(const OpBuffers& buffers) const;
  void apply_table(std::byte* out, Range channels, Range tiles, const WinogradPlace* places) const;

  const WinogradKernel& kernel_;
  size_t least_tiles_;
  const Tensor& input_;
  const Tensor& output_;
  const Tensor* residual_;
  float residual_multiplier_;
  Rounding rounding_;
  size_t tiles_y_;
  size_t tiles_x_;
  Indirection indirection_;
  size_t v_channels_;
  size_t panels_;
  WinogradWeightForm form_;
  size_t panel_bytes_;
  AlignedBuffer packed_;
  AlignedBuffer padding_;
  // For batches of fewer than least_tiles_ tiles, and for its filters; or null.
  std::unique_ptr<Conv2dGemm> direct_;
};

Status ConvWinogradOp::pack(const Conv2dSpec& spec) {
  const WinogradPackInput input = pack_input(spec);
  auto packed = AlignedBuffer::allocate(winograd_packed_bytes(kernel_, input, form_),
                                        format::cat("the packed weights of ", name()));
  if (!packed.ok()) return packed.status();
  packed_ = std::move(packed).value();
  winograd_pack(kernel_, input, form_, packed_.data());
  auto padding =
      AlignedBuffer::allocate(indirection_.needs_padding() ? input_.channels + kTensorSlack : 0,
                              format::cat("the padding row of ", name()));
  if (!padding.ok()) return padding.status();
  padding_ = std::move(padding).value();
  if (padding_.size() != 0) std::memset(padding_.data(), input_.zero_point, padding_.size());
  const bool has_filters = form_ == WinogradWeightForm::kTransformed;
  if (!has_filters || tiles_y_ * tiles_x_ < least_tiles_) {
    Result<std::unique_ptr<Conv2dGemm>> direct = make_conv2d_gemm(spec);
    if (!direct.ok()) return direct.status();
    direct_ = std::move(direct).value();
  }
  cost_.weight_bytes = has_filters ? packed_.size() : direct_->packed_bytes();
  return Status();
}

std::unique_ptr<OpPlan> ConvWinogradOp::plan(size_t batch, size_t threads) const {
  if (direct_ != nullptr && batch * tiles_y_ * tiles_x_ < least_tiles_) {
    return direct_->plan(batch, threads);
  }
  WinogradShape shape = {};
  shape.tiles = batch * tiles_y_ * tiles_x_;
  shape.panels = panels_;
  shape.mr = kernel_.mr;
  shape.transforms = form_ == WinogradWeightForm::kElsewhere;
  shape.panel_bytes =
      winograd_panel_bytes(kernel_, input_.channels, WinogradWeightForm::kTransformed);
  shape.v_tile_bytes = kWinogradPositions * v_channels_ * sizeof(int16_t);
  shape.m_tile_bytes = kWinogradPositions * kernel_.nr * sizeof(int32_t);
  const WinogradSchedule schedule(shape, threads);
  return std::make_unique<UnitPlan<ConvWinogradOp, WinogradSchedule>>(
      *this, schedule, scratch(schedule.block_tiles()).bytes);
}

ConvWinogradOp::Scratch ConvWinogradOp::scratch(size_t block_tiles) const {
  Scratch scratch = {};
  scratch.m = kWinogradPositions * position_stride(block_tiles) * sizeof(int16_t);
  scratch.u = scratch.m + block_tiles * kWinogradPositions * kernel_.nr * sizeof(int32_t);
  scratch.pixels = scratch.u;
  if (form_ == WinogradWeightForm::kElsewhere) {
    constexpr size_t kLargestPart = kWinogradParts[2] - kWinogradParts[1];
    scratch.pixels += kLargestPart * transformed_stride() * sizeof(int16_t);
  }
  scratch.places = scratch.pixels + kWinogradPositions * kernel_.mr * sizeof(const uint8_t*);
  scratch.bytes = scratch.places + block_tiles * sizeof(WinogradPlace);
  return scratch;
}

void ConvWinogradOp::transform_input(const OpBuffers& buffers, Range tiles, const uint8_t** pixels,
                                     int16_t* v) const {
  const auto* origin = reinterpret_cast<const uint8_t*>(buffers.inputs[0]) + input_.layout.origin;
  const Groups groups = groups_of(tiles.size());
  WinogradInputTiles args = {};
  args.channels = input_.channels;
  args.pixels = pixels;
  args.position_stride = position_stride(tiles.size());
  for (size_t g = 0; g < groups.count; ++g) {
    const Range group = groups[g];
    args.tiles = group.size();
    args.v = v + group.begin * v_channels_;
    indirection_.expand(origin, padding_.as<const uint8_t>(), tiles.begin + group.begin,
                        group.size(), group.size(), pixels);
    kernel_.transform_input(args);
  }
}

void ConvWinogradOp::multiply(const WinogradSchedule& schedule, size_t panel, Groups groups,
                              const int16_t* v, int32_t* m) const {
  WinogradProduct args = {};
  args.channels = input_.channels;
  args.position_stride = position_stride(groups.tiles);
  const std::byte* header = packed_.data() + panel * panel_bytes_;
  const std::byte* weights = header + winograd_header_bytes(kernel_);
  args.start = reinterpret_cast<const int32_t*>(header);
  args.positions = schedule.panel_stays() ? kWinogradPositions : 1;
  args.prefetch_stride = position_bytes();
  const bool is_last = panel + 1 == panels_;
  for (size_t p = 0; p < kWinogradPositions; p += args.positions) {
    args.first_position = p;
    args.u = reinterpret_cast<const int16_t*>(weights + p * args.prefetch_stride);
    for (size_t g = 0; g < groups.count; ++g) {
      const Range group = groups[g];
      args.tiles = group.size();
      args.v = v + group.begin * v_channels_;
      args.m = m + group.begin * kWinogradPositions * kernel_.nr;
      // Each of the first two groups fetches half of the weights of the next position.
      args.prefetch = g < 2 && !is_last
                          ? weights + (p + 1) * args.prefetch_stride + g * args.prefetch_stride / 2
                          : nullptr;
      kernel_.multiply(args);
    }
  }
}

// All groups meet one position's weights after another, which stay in L1 meanwhile.
void ConvWinogradOp::transform_and_multiply(size_t panel, size_t next_panel, Groups groups,
                                            const int16_t* v, int16_t* u, int32_t* m) const {
  WinogradWeights weights = {};
  weights.channels = input_.channels;
  weights.filters = direct_->panel_weights(panel);
  weights.u = u;
  weights.position_stride = transformed_stride();
  const int8_t* next_filters = direct_->panel_weights(next_panel);
  const size_t tap_bytes = input_.channels * kernel_.nr;
  WinogradProduct args = {};
  args.channels = input_.channels;
  args.position_stride = position_stride(groups.tiles);
  args.start = reinterpret_cast<const int32_t*>(packed_.data() + panel * panel_bytes_);
  args.positions = 1;
  for (weights.part = 0; weights.part + 1 < std::size(kWinogradParts); ++weights.part) {
    kernel_.transform_weights(weights);
    const size_t first = kWinogradParts[weights.part];
    for (size_t p = first; p < kWinogradParts[weights.part + 1]; ++p) {
      args.first_position = p;
      args.u = u + (p - first) * weights.position_stride;
      for (size_t g = 0; g < groups.count; ++g) {
        const Range group = groups[g];
        args.tiles = group.size();
        args.v = v + group.begin * v_channels_;
        args.m = m + group.begin * kWinogradPositions * kernel_.nr;
        // A position's product fetches as many bytes as one tap of the next panel's filters has.
        const bool fetches = weights.part == 2 && g == 0 && p - first < kTaps;
        args.prefetch = fetches ? next_filters + (p - first) * tap_bytes : nullptr;
        kernel_.multiply(args);
      }
    }
  }
}

void ConvWinogradOp::place(Range tiles, WinogradPlace* places) const {
  for (size_t tile = tiles.begin; tile < tiles.end; ++tile, ++places) {
    const size_t picture = tile / (tiles_y_ * tiles_x_);
    const size_t y = tile / tiles_x_ % tiles_y_ * kWinogradOutput;
    const size_t x = tile % tiles_x_ * kWinogradOutput;
    const auto offset = [&](const TensorLayout& layout) {
      return layout.origin + picture * layout.picture_stride + y * layout.row_stride +
             x * layout.pixel_stride;
    };
    places->out = offset(output_.layout);
    places->residual = residual_ != nullptr ? offset(residual_->layout) : 0;
    places->rows = static_cast<uint32_t>(std::min(kWinogradOutput, output_.height - y));
    places->cols = static_cast<uint32_t>(std::min(kWinogradOutput, output_.width - x));
  }
}

WinogradOutputTiles ConvWinogradOp::output_args(const OpBuffers& buffers) const {
  WinogradOutputTiles args = {};
  args.out_row_stride = output_.layout.row_stride;
  args.out_pixel_stride = output_.layout.pixel_stride;
  if (residual_ != nullptr) {
    args.residual = reinterpret_cast<const uint8_t*>(buffers.inputs[1]);
    args.residual_row_stride = residual_->layout.row_stride;
    args.residual_pixel_stride = residual_->layout.pixel_stride;
    args.residual_zero_point = residual_->zero_point;
  }
  args.residual_multiplier = residual_multiplier_;
  args.zero_point = rounding_.zero_point();
  args.lo = rounding_.lo();
  args.hi = rounding_.hi();
  return args;
}

// Tiles of one picture row are looked up together, a row of pixels at a time.
void ConvWinogradOp::apply_table(std::byte* out, Range channels, Range tiles,
                                 const WinogradPlace* places) const {
  for (size_t tile = tiles.begin, next; tile < tiles.end; tile = next) {
    next = std::min(round_up(tile + 1, tiles_x_), tiles.end);
    const WinogradPlace& first = places[tile - tiles.begin];
    const WinogradPlace& last = places[next - 1 - tiles.begin];
    const size_t pixels = (next - 1 - tile) * kWinogradOutput + last.cols;
    auto* row = reinterpret_cast<uint8_t*>(out) + first.out + channels.begin;
    for (size_t y = 0; y < first.rows; ++y, row += output_.layout.row_stride) {
      rounding_.apply_table(row, output_.layout.pixel_stride, pixels, channels.size());
    }
  }
}

void ConvWinogradOp::run_unit(const WinogradSchedule& schedule, size_t unit,
                              const OpBuffers& buffers, std::byte* memory) const {
  const Scratch offsets = scratch(schedule.block_tiles());
  auto* v = reinterpret_cast<int16_t*>(memory);
  auto* m = reinterpret_cast<int32_t*>(memory + offsets.m);
  auto* u = reinterpret_cast<int16_t*>(memory + offsets.u);
  auto* pixels = reinterpret_cast<const uint8_t**>(memory + offsets.pixels);
  auto* places = reinterpret_cast<WinogradPlace*>(memory + offsets.places);
  const Range all_tiles = schedule.tiles(unit);
  const Range panels = schedule.panels(unit);
  const Range all_channels = {panels.begin * kernel_.nr,
                              std::min(panels.end * kernel_.nr, output_.channels)};
  WinogradOutputTiles args = output_args(buffers);
  const uint8_t* residual = args.residual;
  args.m = m;
  args.places = places;
  for (Range tiles = {all_tiles.begin, 0}; tiles.begin < all_tiles.end; tiles.begin = tiles.end) {
    tiles.end = std::min(tiles.begin + schedule.block_tiles(), all_tiles.end);
    const Groups groups = groups_of(tiles.size());
    transform_input(buffers, tiles, pixels, v);
    place(tiles, places);
    args.tiles = tiles.size();
    for (size_t panel = panels.begin; panel < panels.end; ++panel) {
      if (form_ == WinogradWeightForm::kElsewhere) {
        const size_t next = panel + 1 < panels.end ? panel + 1 : panels.begin;
        transform_and_multiply(panel, next, groups, v, u, m);
      } else {
        multiply(schedule, panel, groups, v, m);
      }
      const size_t channel = panel * kernel_.nr;
      args.panel = packed_.data() + panel * panel_bytes_;
      args.channels = std::min(kernel_.nr, output_.channels - channel);
      args.out = reinterpret_cast<uint8_t*>(buffers.outputs[0]) + channel;
      if (residual != nullptr) args.residual = residual + channel;
      kernel_.transform_output(args);
    }
    if (rounding_.has_table()) {
      apply_table(buffers.outputs[0], all_channels, tiles, places);
    }
  }
}

}  // namespace

size_t winograd_tiles(const Conv2dSpec& spec) {
  return static_cast<size_t>(tile_axis(spec.y).out * tile_axis(spec.x).out);
}

bool can_use_winograd(const Conv2dSpec& spec) {
  const auto fits = [](const WindowAxis& axis) {
    return axis.kernel == 3 && axis.stride == 1 && axis.dilation == 1;
  };
  return fits(spec.y) && fits(spec.x) && spec.groups == 1 && spec.inputs.size() == 1 &&
         spec.output->dtype == format::DType::kU8 && winograd_is_exact(pack_input(spec));
}

Result<std::unique_ptr<Op>> make_conv2d_winograd(const Conv2dSpec& spec, size_t least_tiles) {
  auto op = std::make_unique<ConvWinogradOp>(spec, least_tiles);
  WBCQ_RETURN_IF_ERROR(op->pack(spec));
  return std::unique_ptr<Op>(std::move(op));
}

}  // namespace wbcq
