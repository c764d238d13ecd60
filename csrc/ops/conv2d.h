// Convolution with everything fused into its one rounding. What a layer computes is described once;
// how is up to the implementation that make_conv2d() chooses for it.
#ifndef WBCQ_OPS_CONV2D_H_
#define WBCQ_OPS_CONV2D_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "ops/op.h"
#include "ops/rounding.h"
#include "ops/window.h"

namespace wbcq {

struct Conv2dSpec {
  std::string_view name;
  // Their channels follow one another: same height and width, each its own scale and zero point.
  std::vector<const Tensor*> inputs;
  const Tensor* residual;  // or null
  const Tensor* output;    // u8, or f32 for a head
  WindowAxis y;
  WindowAxis x;
  size_t groups;
  std::span<const int8_t> weights;    // [O][KH][KW][I / groups]
  std::span<const int32_t> bias;      // [O] for a u8 output, else empty
  std::span<const float> float_bias;  // [O] for an f32 output, else empty
  std::vector<float> multipliers;     // [O]
  float residual_multiplier;
  const Rounding* rounding;
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

// The fewest tiles of a batch (4x4 outputs) for which Winograd is faster than a direct convolution:
// the choice between the two. The largest size_t where it never is or must not be used.
size_t least_winograd_tiles(const Conv2dSpec& spec, WinogradUse use, MemoryChoice memory);
// What the environment variable WBCQ_WINOGRAD asks for: "always" or "never".
Result<WinogradUse> winograd_use_of_environment();

// Without the packed weights, which depend on the implementation.
OpCost conv2d_cost(const Conv2dSpec& spec);

// One filter for each channel.
bool is_depthwise(const Conv2dSpec& spec);
Result<std::unique_ptr<Op>> make_conv2d_depthwise(const Conv2dSpec& spec);

// Whether some value before its rounding may reach 2^31: rare, multipliers are well below 1 in
// every network seen.
bool may_leave_int32(const Conv2dSpec& spec);

// A 3x3 layer over three channels whose input has a halo.
bool can_use_stem(const Conv2dSpec& spec);
std::unique_ptr<Op> make_conv2d_stem(const Conv2dSpec& spec);

// Indirect GEMM: any geometry, any number of groups.
class Conv2dGemm : public Op {
 public:
  using Op::Op;
  // The int8 weights of nr output channels (kernels/gemm/pack.h).
  virtual const int8_t* panel_weights(size_t panel) const = 0;
};
Result<std::unique_ptr<Conv2dGemm>> make_conv2d_gemm(const Conv2dSpec& spec);

// 3x3 with stride 1 and one u8 input and output, if its filters pass winograd_is_exact().
bool can_use_winograd(const Conv2dSpec& spec);
// Of one picture.
size_t winograd_tiles(const Conv2dSpec& spec);
// Batches of fewer tiles are convolved directly.
Result<std::unique_ptr<Op>> make_conv2d_winograd(const Conv2dSpec& spec, size_t least_tiles);

// Without groups, and every value before its rounding fits int32.
bool can_use_sparse(const Conv2dSpec& spec);
struct SparseChoice {
  SparseUse use;
  bool against_winograd;  // the dense kernel would be Winograd's
};
// The form of blocks (kernels/sparse/sparse.h) with which leaving out zeros is fastest, if it is
// faster than the dense kernel; kSparseForms if it is not, or must not be used.
size_t choose_sparse_form(const Conv2dSpec& spec, const SparseChoice& choice);
// What the environment variable WBCQ_SPARSE asks for: "always" or "never".
Result<SparseUse> sparse_use_of_environment();
Result<std::unique_ptr<Op>> make_conv2d_sparse(const Conv2dSpec& spec, size_t form);

}  // namespace wbcq

#endif  // WBCQ_OPS_CONV2D_H_
