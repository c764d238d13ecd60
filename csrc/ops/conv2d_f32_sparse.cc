// Convolution in float with the zero weights left out; ops/conv2d_sparse.cc explains the shape of
// it. Results are transposed back from where sums are, so that a chunk needs no other buffer.
#include <algorithm>

#include "ops/conv2d_f32.h"
#include "ops/sparse_inputs.h"
#include "ops/sparse_schedule.h"
#include "ops/sparse_weights.h"
#include "ops/unit_plan.h"

namespace wbcq {
namespace {

class ConvSparseF32Op final : public Op {
 public:
  ConvSparseF32Op(const Conv2dF32Spec& spec, size_t form)
      : Op(spec.name, "conv2d", spec.kernels->sparse->float_names[form]),
        kernel_(*spec.kernels->sparse),
        run_(kernel_.run_float[form]),
        inputs_(spec.inputs, spec.y, spec.x, kernel_),
        output_(*spec.output),
        residual_(spec.residual),
        lo_(spec.lo),
        hi_(spec.hi),
        weights_(sparse_source(spec), {{}, {}, {spec.bias.begin(), spec.bias.end()}}, form) {
    cost_ = conv2d_f32_cost(spec);
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
    size_t bytes;
  };
  Scratch scratch(size_t chunks) const;
  void run_unit(const SparseSchedule& schedule, size_t unit, const OpBuffers& buffers,
                std::byte* scratch) const;

 private:
  size_t row_bytes() const { return kernel_.pixels * sizeof(float); }
  size_t chunk_bytes() const { return kSparseChunk * row_bytes(); }
  void gather_residual(const OpBuffers& buffers, Range pixels, size_t chunk,
                       const uint8_t** pointers, uint32_t* rows) const;
  void scatter(const OpBuffers& buffers, Range pixels, size_t chunk, const float* rows) const;
  // Channels of a chunk.
  size_t columns(size_t chunk) const {
    return std::min(kSparseChunk, output_.channels - chunk * kSparseChunk);
  }

  const SparseKernel& kernel_;
  SparseFloatTileFn run_;
  SparseInputs inputs_;
  const Tensor& output_;
  const Tensor* residual_;
  float lo_;
  float hi_;
  SparseWeights weights_;
};

std::unique_ptr<OpPlan> ConvSparseF32Op::plan(size_t batch, size_t threads) const {
  const SparseShape shape = {batch * output_.pixels(), kernel_.pixels,   batch * inputs_.bytes(),
                             weights_.chunks(),        weights_.bytes(), weights_.gather()};
  const SparseSchedule schedule(shape, threads);
  return std::make_unique<UnitPlan<ConvSparseF32Op, SparseSchedule>>(
      *this, schedule, scratch(schedule.most_chunks()).bytes);
}

ConvSparseF32Op::Scratch ConvSparseF32Op::scratch(size_t chunks) const {
  Scratch scratch = {};
  const size_t pointers = weights_.segments() * kernel_.pixels;
  scratch.lhs = round_up(pointers * sizeof(const uint8_t*), 64);
  scratch.sums = scratch.lhs + weights_.most_quads() * row_bytes();
  // Of one part alone nothing is kept.
  scratch.residual = scratch.sums + (weights_.parts().size() > 1 ? chunks : 1) * chunk_bytes();
  scratch.bytes = scratch.residual + (residual_ != nullptr ? chunk_bytes() : 0);
  return scratch;
}

void ConvSparseF32Op::gather_residual(const OpBuffers& buffers, Range pixels, size_t chunk,
                                      const uint8_t** pointers, uint32_t* rows) const {
  const size_t stride = residual_->layout.pixel_stride;
  const auto* pixel = reinterpret_cast<const uint8_t*>(buffers.inputs.back()) +
                      residual_->layout.origin + pixels.begin * stride +
                      chunk * kSparseChunk * sizeof(float);
  for (size_t p = 0; p < pixels.size(); ++p, pixel += stride) pointers[p] = pixel;
  kernel_.gather_plain({pointers, pixels.size(), 0, columns(chunk) * sizeof(float), nullptr, rows});
}

void ConvSparseF32Op::scatter(const OpBuffers& buffers, Range pixels, size_t chunk,
                              const float* rows) const {
  SparseScatter args = {};
  args.quads = reinterpret_cast<const uint32_t*>(rows);
  args.count = pixels.size();
  args.bytes = columns(chunk) * sizeof(float);
  args.pixel_stride = output_.layout.pixel_stride;
  args.pixels = reinterpret_cast<uint8_t*>(buffers.outputs[0]) + output_.layout.origin +
                pixels.begin * args.pixel_stride + chunk * kSparseChunk * sizeof(float);
  kernel_.scatter(args);
}

void ConvSparseF32Op::run_unit(const SparseSchedule& schedule, size_t unit,
                               const OpBuffers& buffers, std::byte* memory) const {
  const Range pixels = schedule.pixels(unit);
  const Range chunks = schedule.chunks(unit);
  const Scratch at = scratch(chunks.size());
  const auto pointers = reinterpret_cast<const uint8_t**>(memory);
  const auto lhs = reinterpret_cast<uint32_t*>(memory + at.lhs);
  const auto residual = reinterpret_cast<uint32_t*>(memory + at.residual);

  SparseFloatTile args = {};
  args.lhs = reinterpret_cast<const float*>(lhs);
  if (residual_ != nullptr) args.residual = reinterpret_cast<const float*>(residual);
  args.lo = lo_;
  args.hi = hi_;
  const std::vector<SparsePart>& parts = weights_.parts();
  for (size_t first = pixels.begin; first < pixels.end; first += kernel_.pixels) {
    const Range range = {first, std::min(first + kernel_.pixels, pixels.end)};
    args.pixels = range.size();
    inputs_.expand(buffers, range, pointers);
    for (const SparsePart& part : parts) {
      inputs_.gather(part, args.pixels, pointers, lhs, kernel_.gather_plain);
      args.first = &part == &parts.front();
      args.last = &part == &parts.back();
      for (size_t chunk = chunks.begin; chunk < chunks.end; ++chunk) {
        args.groups = ceil_div(columns(chunk), kSparseGroup);
        weights_.point(part, chunk, args);
        const size_t kept = parts.size() > 1 ? chunk - chunks.begin : 0;
        args.sums = reinterpret_cast<float*>(memory + at.sums + kept * chunk_bytes());
        if (args.last && residual_ != nullptr) {
          gather_residual(buffers, range, chunk, pointers, residual);
        }
        run_(args);
        if (args.last) scatter(buffers, range, chunk, args.sums);
      }
    }
  }
}

}  // namespace

Result<std::unique_ptr<Op>> make_conv2d_f32_sparse(const Conv2dF32Spec& spec, size_t form) {
  auto op = std::make_unique<ConvSparseF32Op>(spec, form);
  WBCQ_RETURN_IF_ERROR(op->allocate_padding());
  return std::unique_ptr<Op>(std::move(op));
}

}  // namespace wbcq
