// How tensors lie in memory: decided when a model is loaded, before its operators are prepared.
#ifndef WBCQ_ENGINE_LAYOUT_H_
#define WBCQ_ENGINE_LAYOUT_H_

#include <vector>

#include "format/reader.h"
#include "ops/tensor.h"

namespace wbcq {

// Sets the layout of every tensor: dense, except that the pictures, quantized or copied from the
// caller's planes, which only convolutions read are stored without gaps between pixels and with a
// halo as wide as those convolutions' padding. With few channels a whole kernel row is then one run
// of elements (ops/conv2d_gemm.cc, ops/conv2d_f32_gemm.cc). A view lies in its parent, which has no
// halo. Which inputs are the caller's planes themselves is known before.
void assign_layouts(const format::ModelFile& file, std::vector<Tensor>& tensors);

}  // namespace wbcq

#endif  // WBCQ_ENGINE_LAYOUT_H_
