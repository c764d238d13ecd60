#include "kernels/dwconv_f32/vectorized.h"
#include "kernels/simd/floats_x86_avx2.h"

namespace wbcq {

extern const DwconvF32Kernel dwconv_f32_x86_avx2 = {
    "dwconv_f32_f32_f32_anyc32_avx2", kGroupVectors* Floats::kLanes, dwconv_f32<Floats, 3>};

}  // namespace wbcq
