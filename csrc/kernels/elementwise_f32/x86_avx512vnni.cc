#include "kernels/elementwise_f32/vectorized.h"
#include "kernels/simd/floats_x86_avx512vnni.h"

namespace wbcq {

extern const ElementwiseF32Kernels elementwise_f32_x86_avx512vnni = {
    "elementwise_f32_x86_avx512vnni",
    binary<Floats>,
    unary<Floats>,
    softmax<Floats>,
    normalize<Floats>,
    column_sums<Floats>,
    column_affine<Floats>};

}  // namespace wbcq
