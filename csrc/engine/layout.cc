#include "engine/layout.h"

#include <algorithm>
#include <optional>

#include "ops/window.h"

namespace wbcq {
namespace {

// With more channels each tap is long enough by itself.
constexpr size_t kMaxHaloChannels = 16;
// A wider halo costs more memory than it saves time.
constexpr size_t kMaxHalo = 16;

WindowAxis conv_axis(const format::OpRecord& op, int axis, size_t in, size_t out) {
  return {static_cast<int64_t>(in),
          static_cast<int64_t>(out),
          op.attrs[format::conv2d::kKernelH + axis],
          op.attrs[format::conv2d::kStrideH + axis],
          op.attrs[format::conv2d::kPadTop + axis],
          op.attrs[format::conv2d::kDilationH + axis]};
}

// Widens the halo of a convolution's input to the convolution's padding.
void widen(const format::OpRecord& op, const Tensor& in, const Tensor& out, Halo& halo) {
  const WindowAxis y = conv_axis(op, 0, in.height, out.height);
  const WindowAxis x = conv_axis(op, 1, in.width, out.width);
  halo.top = std::max(halo.top, static_cast<size_t>(y.reach_before()));
  halo.bottom = std::max(halo.bottom, static_cast<size_t>(y.reach_beyond()));
  halo.left = std::max(halo.left, static_cast<size_t>(x.reach_before()));
  halo.right = std::max(halo.right, static_cast<size_t>(x.reach_beyond()));
}

}  // namespace

void assign_layouts(const format::ModelFile& file, std::vector<Tensor>& tensors) {
  // Set for the engine's own pictures, until a reader turns up that cannot use a halo.
  std::vector<std::optional<Halo>> halos(tensors.size());
  for (const format::IoRecord& io : file.inputs()) {
    const Tensor& input = tensors[io.tensor];
    if (!input.is_planar && input.channels <= kMaxHaloChannels) halos[io.tensor] = Halo{};
  }
  for (const format::OpRecord& op : file.ops()) {
    const auto inputs = file.op_inputs(op);
    const uint32_t output = file.op_outputs(op)[0];
    const auto kind = static_cast<format::OpKind>(op.kind);
    const size_t convolved = kind == format::OpKind::kConv2d ? file.conv2d_inputs(op).size() : 0;
    if (kind == format::OpKind::kQuantize && tensors[output].channels <= kMaxHaloChannels) {
      halos[output] = Halo{};
    }
    for (size_t i = 0; i < inputs.size(); ++i) {
      std::optional<Halo>& halo = halos[inputs[i]];
      if (!halo) continue;
      if (i >= convolved) {
        halo.reset();
        continue;
      }
      widen(op, tensors[inputs[i]], tensors[output], *halo);
      if (std::max({halo->top, halo->left, halo->bottom, halo->right}) > kMaxHalo) halo.reset();
    }
  }
  const std::span<const format::TensorRecord> records = file.tensors();
  for (size_t i = 0; i < records.size(); ++i) {
    if (records[i].parent == 0) continue;
    halos[i].reset();
    halos[records[i].parent - 1].reset();
  }
  for (size_t i = 0; i < tensors.size(); ++i) {
    tensors[i].layout = halos[i] ? make_layout(tensors[i], tensors[i].pixel_bytes(), *halos[i])
                                 : dense_layout(tensors[i]);
  }
  for (size_t i = 0; i < records.size(); ++i) {
    if (records[i].parent == 0) continue;
    Tensor& view = tensors[i];
    view.layout = tensors[records[i].parent - 1].layout;
    view.layout.origin += static_cast<size_t>(records[i].channel_offset) * view.element_bytes();
    view.is_view = true;
  }
}

}  // namespace wbcq
