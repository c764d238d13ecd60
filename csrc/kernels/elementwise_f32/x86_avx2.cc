#include "kernels/elementwise_f32/vectorized.h"
#include "kernels/simd/floats_x86_avx2.h"

namespace wbcq {

extern const ElementwiseF32Kernels elementwise_f32_x86_avx2 = {
    "elementwise_f32_x86_avx2", binary<Floats>,      unary<Floats>,        softmax<Floats>,
    normalize<Floats>,          column_sums<Floats>, column_affine<Floats>};

}  // namespace wbcq
