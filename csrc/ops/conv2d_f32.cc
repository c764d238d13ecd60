#include "ops/conv2d_f32.h"

#include <bit>

namespace wbcq {
namespace {

namespace attr = format::conv2d;

bool is_depthwise(const Conv2dF32Spec& spec) {
  return spec.groups > 1 && spec.groups == spec.in_channels() &&
         spec.groups == spec.output->channels;
}

}  // namespace

OpCost conv2d_f32_cost(const Conv2dF32Spec& spec) {
  OpCost cost = {};
  cost.macs = static_cast<uint64_t>(spec.y.inside_count() * spec.x.inside_count()) *
              spec.in_channels_per_group() * spec.output->channels;
  cost.activation_bytes =
      spec.inputs[0]->pixels() * spec.in_channels() * sizeof(float) +
      (spec.residual != nullptr ? 2 : 1) * spec.output->pixels() * spec.output->pixel_bytes();
  return cost;
}

Result<std::unique_ptr<Op>> make_conv2d_f32(const OpSource& source) {
  const std::span<const int32_t> attrs = source.attrs;
  Conv2dF32Spec spec = {};
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
  spec.weights = source.blobs[0].as<float>();
  spec.bias = source.blobs[1].as<float>();
  spec.lo = std::bit_cast<float>(attrs[attr::kLo]);
  spec.hi = std::bit_cast<float>(attrs[attr::kHi]);
  spec.kernels = source.kernels;
  if (is_depthwise(spec)) return make_conv2d_f32_depthwise(spec);
  const size_t form = choose_sparse_form(spec, source.sparse);
  if (form < kSparseForms) return make_conv2d_f32_sparse(spec, form);
  return make_conv2d_f32_gemm(spec);
}

}  // namespace wbcq
