#include "ops/conv2d.h"

#include <cmath>
#include <cstdlib>
#include <limits>
#include <utility>

#include "format/message.h"
#include "ops/conv2d_f32.h"

namespace wbcq {
namespace {

namespace attr = format::conv2d;

constexpr size_t kPlannedPictures = 8;  // larger batches run in parts
constexpr size_t kNoTiles = std::numeric_limits<size_t>::max();

// s_x s_w[c] / s_y, or s_x s_w[c] for a head: binary32 operations in the order of
// docs/design/numerics.md. The reader has checked that they are finite. s_x is the scale of the
// first input, whose steps the weights of the others are in; a depthwise channel has its own.
std::vector<float> multipliers_of(const Conv2dSpec& spec, std::span<const float> weight_scales) {
  const bool head = spec.output->dtype == format::DType::kF32;
  const bool depthwise = is_depthwise(spec);
  std::vector<float> multipliers(spec.output->channels);
  size_t input = 0;
  size_t end = spec.inputs[0]->channels;
  for (size_t c = 0; c < multipliers.size(); ++c) {
    if (depthwise && c == end) end += spec.inputs[++input]->channels;
    const float product =
        spec.inputs[input]->scale * weight_scales[weight_scales.size() == 1 ? 0 : c];
    multipliers[c] = head ? product : product / spec.rounding->scale();
  }
  return multipliers;
}

}  // namespace

bool may_leave_int32(const Conv2dSpec& spec) {
  if (spec.bias.empty()) return false;
  const size_t depth = spec.taps() * spec.in_channels_per_group();
  const double shortcut = spec.residual != nullptr ? 255.0 * spec.residual_multiplier : 0.0;
  for (size_t c = 0; c < spec.bias.size(); ++c) {
    int64_t weights = 0;
    for (const int8_t w : spec.weights.subspan(c * depth, depth)) weights += std::abs(int{w});
    const double sum =
        std::abs(static_cast<double>(spec.bias[c])) + 255.0 * static_cast<double>(weights);
    // Half of the range, for the roundings on the way.
    if (sum * std::abs(spec.multipliers[c]) + shortcut >= 0x1p30) return true;
  }
  return false;
}

OpCost conv2d_cost(const Conv2dSpec& spec) {
  OpCost cost = {};
  cost.macs = static_cast<uint64_t>(spec.y.inside_count() * spec.x.inside_count()) *
              spec.in_channels_per_group() * spec.output->channels;
  const size_t output_bytes =
      spec.output->pixels() * spec.output->channels * spec.output->element_bytes();
  cost.activation_bytes = spec.inputs[0]->pixels() * spec.in_channels() +
                          (spec.residual != nullptr ? 2 : 1) * output_bytes;
  return cost;
}

// docs/design/winograd.md has the measurements behind the numbers.
size_t least_winograd_tiles(const Conv2dSpec& spec, WinogradUse use, MemoryChoice memory) {
  if (use == WinogradUse::kNever || memory == MemoryChoice::kSmall) return kNoTiles;
  if (!can_use_winograd(spec)) return kNoTiles;
  if (use == WinogradUse::kAlways) return 0;
  const size_t in = spec.in_channels();
  const size_t out = spec.output->channels;
  if (in < 16 || out < 16) return kNoTiles;
  switch (spec.kernels->isa) {
    case Isa::kAvx512Vnni:
      return 14;
    case Isa::kAvx2:
    case Isa::kNeon:
      return 4;
    default:
      // Where one dot product takes 16 u8 by s8 products, four of int16 at a time gain nothing.
      return kNoTiles;
  }
}

Result<WinogradUse> winograd_use_of_environment() {
  const char* value = std::getenv("WBCQ_WINOGRAD");
  if (value == nullptr || *value == '\0') return WinogradUse::kMeasured;
  if (std::string_view(value) == "never") return WinogradUse::kNever;
  if (std::string_view(value) == "always") return WinogradUse::kAlways;
  return Status(StatusCode::kInvalidArgument,
                format::cat("environment variable WBCQ_WINOGRAD is \"", value,
                            "\"; use always or never, or leave it empty for the fastest"));
}

Result<std::unique_ptr<Op>> make_conv2d(const OpSource& source) {
  if (source.inputs[0]->dtype == format::DType::kF32) return make_conv2d_f32(source);
  const std::span<const int32_t> attrs = source.attrs;
  Conv2dSpec spec = {};
  spec.name = source.name;
  spec.inputs = source.inputs;
  if (source.residual != nullptr) spec.inputs.pop_back();
  spec.residual = source.residual;
  spec.output = source.outputs[0];
  spec.y = {static_cast<int64_t>(spec.inputs[0]->height),
            static_cast<int64_t>(spec.output->height),
            attrs[attr::kKernelH],
            attrs[attr::kStrideH],
            attrs[attr::kPadTop],
            attrs[attr::kDilationH]};
  spec.x = {static_cast<int64_t>(spec.inputs[0]->width),
            static_cast<int64_t>(spec.output->width),
            attrs[attr::kKernelW],
            attrs[attr::kStrideW],
            attrs[attr::kPadLeft],
            attrs[attr::kDilationW]};
  spec.groups = static_cast<size_t>(attrs[attr::kGroups]);
  spec.weights = source.blobs[0].as<int8_t>();
  if (spec.output->dtype == format::DType::kF32) {
    spec.float_bias = source.blobs[1].as<float>();
  } else {
    spec.bias = source.blobs[1].as<int32_t>();
  }
  const Rounding rounding(source, {attr::kLo, attr::kHi, attr::kPreScale, attr::kPreZeroPoint}, 3);
  spec.rounding = &rounding;
  spec.multipliers = multipliers_of(spec, source.blobs[2].as<float>());
  if (spec.residual != nullptr) {
    spec.residual_multiplier = spec.residual->scale / rounding.scale();
  }
  spec.kernels = source.kernels;
  if (is_depthwise(spec)) return make_conv2d_depthwise(spec);
  if (can_use_stem(spec) && source.sparse != SparseUse::kAlways) return make_conv2d_stem(spec);
  const size_t least_tiles = least_winograd_tiles(spec, source.winograd, source.memory);
  const bool takes_winograd = least_tiles <= kPlannedPictures * winograd_tiles(spec);
  const size_t form = choose_sparse_form(spec, {source.sparse, takes_winograd});
  if (form < kSparseForms) return make_conv2d_sparse(spec, form);
  if (takes_winograd) {
    return make_conv2d_winograd(spec, least_tiles);
  }
  Result<std::unique_ptr<Conv2dGemm>> op = make_conv2d_gemm(spec);
  if (!op.ok()) return op.status();
  return std::unique_ptr<Op>(std::move(op).value());
}

}  // namespace wbcq
