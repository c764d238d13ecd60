#include "kernels/pool_f32/vectorized.h"
#include "kernels/simd/floats_x86_avx512vnni.h"

namespace wbcq {

extern const PoolF32Kernels pool_f32_x86_avx512vnni = {"pool_f32_x86_avx512vnni", max_pool<Floats>,
                                                       avg_pool<Floats>};

}  // namespace wbcq
