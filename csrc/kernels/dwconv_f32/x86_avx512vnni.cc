#include "kernels/dwconv_f32/vectorized.h"
#include "kernels/simd/floats_x86_avx512vnni.h"

namespace wbcq {

extern const DwconvF32Kernel dwconv_f32_x86_avx512vnni = {
    "dwconv_f32_f32_f32_anyc64_avx512vnni", kGroupVectors* Floats::kLanes, dwconv_f32<Floats, 4>};

}  // namespace wbcq
