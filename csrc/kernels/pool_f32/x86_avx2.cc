#include "kernels/pool_f32/vectorized.h"
#include "kernels/simd/floats_x86_avx2.h"

namespace wbcq {

extern const PoolF32Kernels pool_f32_x86_avx2 = {"pool_f32_x86_avx2", max_pool<Floats>,
                                                 avg_pool<Floats>};

}  // namespace wbcq
