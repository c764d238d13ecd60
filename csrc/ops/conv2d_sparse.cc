// Convolution with the zero blocks of its weights left out (kernels/sparse/sparse.h): tiles of
// output pixels that run through rows and pictures are brought into lane order, a part of the depth
// at a time so that it stays in L1, and meet all blocks of that part.
#include <algorithm>

#include "ops/conv2d.h"
#include "ops/sparse_inputs.h"
#include "ops/sparse_schedule.h"
#include "ops/sparse_weights.h"
#include "ops/unit_plan.h"

namespace wbcq {
namespace {

constexpr size_t kChunkGroups = kSparseChunk / kSparseGroup;

SparseScales scales_of(const Conv2dSpec& spec) {
  SparseScales scales = {{}, spec.multipliers, {spec.float_bias.begin(), spec.float_bias.end()}};
  const int64_t lhs_offset = spec.kernels->sparse->lhs_offset;
  const int8_t* weights = spec.weights.data();
  for (size_t o = 0; o < spec.output->channels; ++o) {
    int64_t sum = spec.bias.empty() ? 0 : spec.bias[o];
    for (size_t tap = 0; tap < spec.taps(); ++tap) {
      for (const Tensor* input : spec.inputs) {
        const int64_t zero_point = input->zero_point - lhs_offset;
        for (size_t c = 0; c < input->channels; ++c) sum -= zero_point * *weights++;
      }
    }
    scales.start.push_back(static_cast<int32_t>(static_cast<uint32_t>(sum)));
  }
  return scales;
}

class ConvSparseOp final : public Op {
 public:
  ConvSparseOp(const Conv2dSpec& spec, size_t form)
      : Op(spec.name, "conv2d", spec.kernels->sparse->names[form]),
        kernel_(*spec.kernels->sparse),
        form_(form),
        inputs_(spec.inputs, spec.y, spec.x, *spec.kernels->sparse),
        output_(*spec.output),
        residual_(spec.residual),
        residual_multiplier_(spec.residual_multiplier),
        rounding_(*spec.rounding),
        weights_(sparse_source(spec), scales_of(spec), form) {
    cost_ = conv2d_cost(spec);
    cost_.macs = static_cast<uint64_t>(static_cast<double>(cost_.macs) * weights_.density());
    cost_.weight_bytes = weights_.bytes();
  }

  Status allocate_padding() { return inputs_.allocate_padding(name()); }

  size_t packed_bytes() const override { return weights_.bytes() + inputs_.padding_bytes(); }
  bool may_overwrite(size_t input) const override { return input == inputs_.count(); }
  std::unique_ptr<OpPlan> plan(size_t batch, size_t threads) const override;

  // Where the parts of a thread's scratch begin, for a unit of `chunks` chunks of channels.
  struct Scratch {
    size_t lhs;
    size_t sums;
    size_t residual;
    size_t out;
    size_t bytes;
  };
  Scratch scratch(size_t chunks) const;
  void run_unit(const SparseSchedule& schedule, size_t unit, const OpBuffers& buffers,
                std::byte* scratch) const;

 private:
  size_t row_bytes() const { return kernel_.pixels * kSparseQuad; }
  bool is_head() const { return output_.dtype == format::DType::kF32; }
  void finish(const OpBuffers& buffers, Range pixels, size_t chunk, const void* quads) const;
  void gather_residual(const OpBuffers& buffers, Range pixels, size_t chunk,
                       const uint8_t** pointers, uint32_t* quads) const;
  // Channels of a chunk.
  size_t columns(size_t chunk) const {
    return std::min(kSparseChunk, output_.channels - chunk * kSparseChunk);
  }

  const SparseKernel& kernel_;
  size_t form_;
  SparseInputs inputs_;
  const Tensor& output_;
  const Tensor* residual_;
  float residual_multiplier_;
  Rounding rounding_;
  SparseWeights weights_;
};

std::unique_ptr<OpPlan> ConvSparseOp::plan(size_t batch, size_t threads) const {
  const SparseShape shape = {batch * output_.pixels(), kernel_.pixels,   batch * inputs_.bytes(),
                             weights_.chunks(),        weights_.bytes(), weights_.gather()};
  const SparseSchedule schedule(shape, threads);
  return std::make_unique<UnitPlan<ConvSparseOp, SparseSchedule>>(
      *this, schedule, scratch(schedule.most_chunks()).bytes);
}

ConvSparseOp::Scratch ConvSparseOp::scratch(size_t chunks) const {
  const size_t rows = is_head() ? kSparseChunk : kChunkGroups;
  Scratch scratch = {};
  scratch.lhs = round_up(weights_.segments() * kernel_.pixels * sizeof(const uint8_t*), 64);
  scratch.sums = scratch.lhs + weights_.most_quads() * row_bytes();
  scratch.residual = scratch.sums;
  if (weights_.parts().size() > 1 || is_head())
    scratch.residual += chunks * kSparseChunk * row_bytes();
  scratch.out = scratch.residual + (residual_ != nullptr ? kChunkGroups * row_bytes() : 0);
  scratch.bytes = scratch.out + rows * row_bytes();
  return scratch;
}

void ConvSparseOp::gather_residual(const OpBuffers& buffers, Range pixels, size_t chunk,
                                   const uint8_t** pointers, uint32_t* quads) const {
  const size_t stride = residual_->layout.pixel_stride;
  const auto* pixel = reinterpret_cast<const uint8_t*>(buffers.inputs.back()) +
                      residual_->layout.origin + pixels.begin * stride + chunk * kSparseChunk;
  for (size_t p = 0; p < pixels.size(); ++p, pixel += stride) pointers[p] = pixel;
  kernel_.gather_plain(
      {pointers, pixels.size(), 0, columns(chunk), weights_.outputs(chunk), quads});
}

void ConvSparseOp::finish(const OpBuffers& buffers, Range pixels, size_t chunk,
                          const void* quads) const {
  SparseScatter args = {};
  args.quads = static_cast<const uint32_t*>(quads);
  args.count = pixels.size();
  args.order = is_head() ? nullptr : weights_.places(chunk);
  args.pixel_stride = output_.layout.pixel_stride;
  args.bytes = columns(chunk) * output_.element_bytes();
  args.pixels = reinterpret_cast<uint8_t*>(buffers.outputs[0]) + output_.layout.origin +
                pixels.begin * args.pixel_stride + chunk * kSparseChunk * output_.element_bytes();
  kernel_.scatter(args);
  rounding_.apply_table(args.pixels, args.pixel_stride, args.count, args.bytes);
}

void ConvSparseOp::run_unit(const SparseSchedule& schedule, size_t unit, const OpBuffers& buffers,
                            std::byte* memory) const {
  const Range pixels = schedule.pixels(unit);
  const Range chunks = schedule.chunks(unit);
  const Scratch at = scratch(chunks.size());
  const auto pointers = reinterpret_cast<const uint8_t**>(memory);
  const auto lhs = reinterpret_cast<uint32_t*>(memory + at.lhs);
  const auto sums = reinterpret_cast<int32_t*>(memory + at.sums);
  const auto residual = reinterpret_cast<uint32_t*>(memory + at.residual);
  const SparseTileFn run = is_head() ? kernel_.run_f32[form_] : kernel_.run_u8[form_];

  SparseTile args = {};
  args.lhs = lhs;
  args.residual = residual_ != nullptr ? residual : nullptr;
  args.residual_multiplier = residual_multiplier_;
  args.residual_zero_point = residual_ != nullptr ? residual_->zero_point : 0;
  args.zero_point = rounding_.zero_point();
  args.lo = rounding_.lo();
  args.hi = rounding_.hi();
  args.out = memory + at.out;
  const std::vector<SparsePart>& parts = weights_.parts();
  for (size_t first = pixels.begin; first < pixels.end; first += kernel_.pixels) {
    const Range range = {first, std::min(first + kernel_.pixels, pixels.end)};
    args.pixels = range.size();
    inputs_.expand(buffers, range, pointers);
    for (const SparsePart& part : parts) {
      inputs_.gather(part, args.pixels, pointers, lhs, kernel_.gather);
      args.first = &part == &parts.front();
      args.last = &part == &parts.back();
      for (size_t chunk = chunks.begin; chunk < chunks.end; ++chunk) {
        args.groups = ceil_div(columns(chunk), kSparseGroup);
        weights_.point(part, chunk, args);
        args.sums = sums + (chunk - chunks.begin) * kSparseChunk * kernel_.pixels;
        if (args.last && residual_ != nullptr) {
          gather_residual(buffers, range, chunk, pointers, residual);
        }
        run(args);
        if (args.last) finish(buffers, range, chunk, args.out);
      }
    }
  }
}

}  // namespace

bool can_use_sparse(const Conv2dSpec& spec) { return spec.groups == 1 && !may_leave_int32(spec); }

Result<std::unique_ptr<Op>> make_conv2d_sparse(const Conv2dSpec& spec, size_t form) {
  auto op = std::make_unique<ConvSparseOp>(spec, form);
  WBCQ_RETURN_IF_ERROR(op->allocate_padding());
  return std::unique_ptr<Op>(std::move(op));
}

}  // namespace wbcq
