// Normalization over the channels of each pixel (layer normalization), or over the pixels and the
// channels of a group (group and instance normalization).
#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "ops/elementwise.h"
#include "ops/row_plan.h"

namespace wbcq {
namespace {

namespace attr = format::normalize;

struct Parameters {
  explicit Parameters(const OpSource& source)
      : weight(source.blobs[0].as<float>().begin(), source.blobs[0].as<float>().end()),
        bias(source.blobs[1].as<float>().begin(), source.blobs[1].as<float>().end()),
        eps(std::bit_cast<float>(source.attrs[attr::kEps])) {}

  size_t bytes() const { return (weight.size() + bias.size()) * sizeof(float); }

  std::vector<float> weight;
  std::vector<float> bias;
  float eps;
};

class NormalizePixelsOp final : public ElementwiseOp {
 public:
  explicit NormalizePixelsOp(const OpSource& source)
      : ElementwiseOp(source, "normalize", source.kernels->elementwise_f32->name, Unit::kPixel),
        kernels_(*source.kernels->elementwise_f32),
        parameters_(source) {}

  size_t packed_bytes() const override { return parameters_.bytes(); }

 private:
  void run(const Run& run) const override {
    kernels_.normalize({run.pixels, run.channels, reinterpret_cast<const float*>(run.a),
                        run.a_stride, reinterpret_cast<float*>(run.out), run.out_stride,
                        parameters_.weight.data(), parameters_.bias.data(), parameters_.eps});
  }

  const ElementwiseF32Kernels& kernels_;
  Parameters parameters_;
};

// A tile is a picture's channels of as many groups as fill a cache line. So the order of a sum
// depends on nothing but the operator's shape.
class NormalizeGroupsOp final : public Op {
 public:
  explicit NormalizeGroupsOp(const OpSource& source)
      : Op(source.name, "normalize", source.kernels->elementwise_f32->name),
        kernels_(*source.kernels->elementwise_f32),
        input_(*source.inputs[0]),
        output_(*source.outputs[0]),
        parameters_(source),
        group_channels_(input_.channels / static_cast<size_t>(source.attrs[attr::kGroups])) {
    constexpr size_t kLineFloats = 16;
    tile_channels_ = round_up(kLineFloats, group_channels_);
    tiles_per_picture_ = (input_.channels + tile_channels_ - 1) / tile_channels_;
    cost_.activation_bytes = 2 * input_.pixels() * input_.pixel_bytes();
  }

  size_t packed_bytes() const override { return parameters_.bytes(); }

  std::unique_ptr<OpPlan> plan(size_t batch, size_t /*threads*/) const override {
    const size_t scratch = tile_channels_ * (sizeof(double) + 3 * sizeof(float));
    return std::make_unique<RowPlan<NormalizeGroupsOp>>(*this, batch * tiles_per_picture_, scratch);
  }

  void run_rows(const OpBuffers& buffers, size_t first, size_t last, std::byte* scratch) const {
    Tile tile = {};
    tile.sums = reinterpret_cast<double*>(scratch);
    tile.row_sums = reinterpret_cast<float*>(tile.sums + tile_channels_);
    tile.center = tile.row_sums + tile_channels_;
    tile.factor = tile.center + tile_channels_;
    for (size_t index = first; index < last; ++index) {
      const size_t channel = index % tiles_per_picture_ * tile_channels_;
      tile.channels = std::min(tile_channels_, input_.channels - channel);
      tile.first_row = index / tiles_per_picture_ * input_.height;
      tile.in = buffers.inputs[0] + channel * sizeof(float);
      add_rows(tile, nullptr);
      set_group_means(tile, tile.center);
      add_rows(tile, tile.center);
      set_group_means(tile, tile.factor);
      for (size_t c = 0; c < tile.channels; ++c) {
        tile.factor[c] =
            parameters_.weight[channel + c] / std::sqrt(tile.factor[c] + parameters_.eps);
      }
      std::byte* out = buffers.outputs[0] + channel * sizeof(float);
      for (size_t y = 0; y < input_.height; ++y) {
        const size_t row = tile.first_row + y;
        kernels_.column_affine({input_.width, tile.channels, input_row(tile, row), in_stride(),
                                reinterpret_cast<float*>(out + output_.row_offset(row)),
                                output_.layout.pixel_stride / sizeof(float), tile.center,
                                tile.factor, parameters_.bias.data() + channel});
      }
    }
  }

 private:
  struct Tile {
    const std::byte* in;  // of the first of its channels
    size_t first_row;     // of its picture
    size_t channels;
    double* sums;
    float* row_sums;
    float* center;
    float* factor;
  };

  size_t in_stride() const { return input_.layout.pixel_stride / sizeof(float); }
  const float* input_row(const Tile& tile, size_t row) const {
    return reinterpret_cast<const float*>(tile.in + input_.row_offset(row));
  }

  // sums = those of column_sums() over the picture. A float per row is summed up in double: a float
  // for a large picture would lose digits.
  void add_rows(const Tile& tile, const float* center) const {
    std::fill_n(tile.sums, tile.channels, 0.0);
    for (size_t y = 0; y < input_.height; ++y) {
      kernels_.column_sums({input_.width, tile.channels, input_row(tile, tile.first_row + y),
                            in_stride(), center, tile.row_sums});
      for (size_t c = 0; c < tile.channels; ++c) tile.sums[c] += tile.row_sums[c];
    }
  }

  // means[c] = the mean of the group of c.
  void set_group_means(const Tile& tile, float* means) const {
    const auto count = static_cast<double>(group_channels_ * input_.pixels());
    for (size_t group = 0; group < tile.channels; group += group_channels_) {
      double sum = 0;
      for (size_t c = 0; c < group_channels_; ++c) sum += tile.sums[group + c];
      std::fill_n(means + group, group_channels_, static_cast<float>(sum / count));
    }
  }

  const ElementwiseF32Kernels& kernels_;
  const Tensor& input_;
  const Tensor& output_;
  Parameters parameters_;
  size_t group_channels_;
  size_t tile_channels_;
  size_t tiles_per_picture_;
};

}  // namespace

Result<std::unique_ptr<Op>> make_normalize(const OpSource& source) {
  if (source.attrs[attr::kGroups] == 0) {
    return std::unique_ptr<Op>(std::make_unique<NormalizePixelsOp>(source));
  }
  return std::unique_ptr<Op>(std::make_unique<NormalizeGroupsOp>(source));
}

}  // namespace wbcq
