#include "kernels/elementwise_f32/vectorized.h"
#include "kernels/simd/floats_arm_neon.h"

namespace wbcq {

extern const ElementwiseF32Kernels elementwise_f32_arm_neon = {
    "elementwise_f32_arm_neon", binary<Floats>,      unary<Floats>,        softmax<Floats>,
    normalize<Floats>,          column_sums<Floats>, column_affine<Floats>};

}  // namespace wbcq
