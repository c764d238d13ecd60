// What a depthwise kernel must know about a convolution's window. Vertical stride, dilation and
// padding do not appear: they only decide which row pointers the caller passes.
#ifndef WBCQ_KERNELS_DWCONV_GEOMETRY_H_
#define WBCQ_KERNELS_DWCONV_GEOMETRY_H_

#include <cstddef>

namespace wbcq {

struct DwconvGeometry {
  size_t kernel_h;
  size_t kernel_w;
  size_t stride_w;
  size_t dilation_w;
};

}  // namespace wbcq

#endif  // WBCQ_KERNELS_DWCONV_GEOMETRY_H_
