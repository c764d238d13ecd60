// Convolution of float32 tensors: the layers that stay in float, and networks that are run in it.
#ifndef WBCQ_OPS_CONV2D_F32_H_
#define WBCQ_OPS_CONV2D_F32_H_

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "ops/op.h"
#include "ops/window.h"

namespace wbcq {

struct Conv2dF32Spec {
  std::string_view name;
  std::vector<const Tensor*> inputs;  // their channels follow one another
  const Tensor* residual;             // or null
  const Tensor* output;
  WindowAxis y;
  WindowAxis x;
  size_t groups;
  std::span<const float> weights;  // [O][KH][KW][I / groups]
  std::span<const float> bias;     // [O]
  float lo;
  float hi;
  const KernelTable* kernels;

  size_t taps() const { return static_cast<size_t>(y.kernel * x.kernel); }
  size_t in_channels() const {
    size_t channels = 0;
    for (const Tensor* input : inputs) channels += input->channels;
    return channels;
  }
  size_t in_channels_per_group() const { return in_channels() / groups; }
  size_t out_channels_per_group() const { return output->channels / groups; }
};

OpCost conv2d_f32_cost(const Conv2dF32Spec& spec);

Result<std::unique_ptr<Op>> make_conv2d_f32(const OpSource& source);
// One filter for each channel.
Result<std::unique_ptr<Op>> make_conv2d_f32_depthwise(const Conv2dF32Spec& spec);
// The form of blocks with which leaving out zeros is fastest, if it is faster than the GEMM;
// kSparseForms if it is not, or must not be used.
size_t choose_sparse_form(const Conv2dF32Spec& spec, SparseUse use);
// Without groups.
Result<std::unique_ptr<Op>> make_conv2d_f32_sparse(const Conv2dF32Spec& spec, size_t form);
// Indirect GEMM: any geometry, any number of groups.
Result<std::unique_ptr<Op>> make_conv2d_f32_gemm(const Conv2dF32Spec& spec);

}  // namespace wbcq

#endif  // WBCQ_OPS_CONV2D_F32_H_
