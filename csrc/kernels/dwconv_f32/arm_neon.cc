#include "kernels/dwconv_f32/vectorized.h"
#include "kernels/simd/floats_arm_neon.h"

namespace wbcq {

extern const DwconvF32Kernel dwconv_f32_arm_neon = {
    "dwconv_f32_f32_f32_anyc16_neon", kGroupVectors* Floats::kLanes, dwconv_f32<Floats, 4>};

}  // namespace wbcq
