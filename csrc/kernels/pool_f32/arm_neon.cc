#include "kernels/pool_f32/vectorized.h"
#include "kernels/simd/floats_arm_neon.h"

namespace wbcq {

extern const PoolF32Kernels pool_f32_arm_neon = {"pool_f32_arm_neon", max_pool<Floats>,
                                                 avg_pool<Floats>};

}  // namespace wbcq
