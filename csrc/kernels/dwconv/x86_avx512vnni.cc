// Depthwise kernels of AVX-512 VNNI (docs/design/depthwise.md): rows are interleaved so that
// VPDPBUSD multiplies four taps of a channel at once. It does not saturate: sums are exact modulo
// 2^32.
#include <immintrin.h>

#include "kernels/dwconv/dwconv.h"
#include "kernels/dwconv/x86_avx512vnni_3x3.h"
#include "kernels/dwconv/x86_avx512vnni_buffer.h"
#include "kernels/dwconv/x86_avx512vnni_lanes.h"

namespace wbcq {
namespace {

// Runs the whole groups of a row, then the last one in as many pieces as its channels leave room
// for.
template <typename Kernel>
void run_groups(const DwconvRow& row) {
  const size_t tail = row.channels % kBlock;
  const size_t whole = row.channels - tail;
  if (whole > 0) Kernel::run(row, Lanes<1, false>(kBlock), 0, whole);
  if (tail > 32) {
    Kernel::run(row, Lanes<1, true>(tail), whole, tail);
  } else if (tail > 16) {
    Kernel::run(row, Lanes<2, true>(tail), whole, tail);
  } else if (tail > 0) {
    Kernel::run(row, Lanes<4, true>(tail), whole, tail);
  }
}

// A shortcut into a depthwise layer is rare: only the general code knows of it.
template <typename Kernel>
void run(const DwconvRow& row) {
  if (row.residual == nullptr) {
    run_groups<Kernel>(row);
  } else {
    run_groups<RunBuffered<AnyWindow>>(row);
  }
}

template <size_t kKernel, size_t kStride>
bool is(const DwconvGeometry& g) {
  return g.kernel_h == kKernel && g.kernel_w == kKernel && g.stride_w == kStride &&
         g.dilation_w == 1;
}

constexpr DwconvLayout kLayout = {/*lanes=*/4,
                                  /*parts=*/4,
                                  /*step_taps=*/4,
                                  /*weight_bytes=*/1, DwconvTapOrder::kColumns,
                                  /*lhs_offset=*/0};

}  // namespace

extern const DwconvKernel dwconv_3x3s1_x86_avx512vnni = {
    "dwconv_u8_u8_s8c_3x3s1c64_avx512vnni", kLayout, is<3, 1>, run<Run3x3<1>>, nullptr};

extern const DwconvKernel dwconv_3x3s2_x86_avx512vnni = {
    "dwconv_u8_u8_s8c_3x3s2c64_avx512vnni", kLayout, is<3, 2>, run<Run3x3<2>>, nullptr};

extern const DwconvKernel dwconv_5x5s1_x86_avx512vnni = {
    "dwconv_u8_u8_s8c_5x5s1c64_avx512vnni", kLayout, is<5, 1>,
    run<RunBuffered<FixedWindow<5, 5, 1>>>, nullptr};

extern const DwconvKernel dwconv_5x5s2_x86_avx512vnni = {
    "dwconv_u8_u8_s8c_5x5s2c64_avx512vnni", kLayout, is<5, 2>,
    run<RunBuffered<FixedWindow<5, 5, 2>>>, nullptr};

extern const DwconvKernel dwconv_any_x86_avx512vnni = {"dwconv_u8_u8_s8c_anyc64_avx512vnni",
                                                       kLayout, fits_buffer,
                                                       run<RunBuffered<AnyWindow>>, nullptr};

}  // namespace wbcq
