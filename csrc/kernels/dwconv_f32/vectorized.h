// The FP32 depthwise convolution in terms of Floats (kernels/simd), for any window. Everything is
// local to the kernel file that includes it.
#ifndef WBCQ_KERNELS_DWCONV_F32_VECTORIZED_H_
#define WBCQ_KERNELS_DWCONV_F32_VECTORIZED_H_

#include "kernels/dwconv_f32/dwconv_f32.h"

#define WBCQ_INLINE inline __attribute__((always_inline))
#define WBCQ_NOINLINE __attribute__((noinline))

namespace wbcq {
namespace {

// A packed group is this many vectors wide: what depends on the pixel alone is shared by so many,
// and a line of the cache is used whole.
constexpr size_t kGroupVectors = 4;

// Neighbouring channels of one pixel: whole vectors, or the first lanes of one.
template <typename FloatsType, size_t kCount>
struct WholeVectors {
  using Floats = FloatsType;
  static constexpr size_t kVectors = kCount;
  WBCQ_INLINE Floats load(const float* p) const { return Floats::load(p); }
  WBCQ_INLINE void store(float* p, Floats value) const { value.store(p); }
};

template <typename FloatsType>
struct FirstLanes {
  using Floats = FloatsType;
  static constexpr size_t kVectors = 1;
  size_t count;
  WBCQ_INLINE Floats load(const float* p) const {
    return Floats::load_first(p, count, Floats::of(0));
  }
  WBCQ_INLINE void store(float* p, Floats value) const { value.store_first(p, count); }
};

// The sides of a window, where they are known when the kernel is compiled.
template <size_t kKernelH, size_t kKernelW>
struct FixedWindow {
  explicit FixedWindow(const DwconvGeometry&) {}
  static constexpr size_t kernel_h = kKernelH;
  static constexpr size_t kernel_w = kKernelW;
};

struct AnyWindow {
  explicit AnyWindow(const DwconvGeometry& g) : kernel_h(g.kernel_h), kernel_w(g.kernel_w) {}
  size_t kernel_h;
  size_t kernel_w;
};

// Makes GCC compute a pointer where it is used: it would otherwise precompute those of all taps and
// outputs, of which only a few find a register.
WBCQ_INLINE const float* here(const float* p) {
  __asm__("" : "+r"(p));
  return p;
}

// Keeps a weight in a register: GCC would otherwise load it again for each output.
template <typename Floats>
WBCQ_INLINE Floats pin(Floats weight) {
#if defined(__x86_64__)
  __asm__("" : "+v"(weight.v));
#else
  __asm__("" : "+w"(weight.v));
#endif
  return weight;
}

// kOutputs outputs next to each other from output x on; kEdge: some tap may lie on padding.
template <size_t kOutputs, bool kEdge, typename Window, typename Lanes>
WBCQ_INLINE void convolve(const DwconvF32Row& row, Lanes lanes, const float* group, size_t channel,
                          size_t x) {
  using Floats = typename Lanes::Floats;
  constexpr size_t kVectors = Lanes::kVectors;
  constexpr size_t kLanes = Floats::kLanes;
  const Window window(row.geometry);
  const size_t stride = row.geometry.stride_w * row.pixel_stride;
  const size_t tap_step = row.geometry.dilation_w * row.pixel_stride;
  const size_t first = static_cast<size_t>(row.first_column) + x * row.geometry.stride_w;
  Floats acc[kOutputs][kVectors];
#pragma GCC unroll 4
  for (size_t o = 0; o < kOutputs; ++o) {
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; ++v) acc[o][v] = Floats::load(group + v * kLanes);
  }
  const float* weights = group;
  for (size_t ky = 0; ky < window.kernel_h; ++ky) {
    const float* const input = row.rows[ky] + channel;
    const float* next = kEdge ? nullptr : input + first * row.pixel_stride;
    for (size_t kx = 0; kx < window.kernel_w; ++kx) {
      weights += kGroupVectors * kLanes;
      const float* pixels[kOutputs];
      if constexpr (kEdge) {
        const size_t column = first + kx * row.geometry.dilation_w;
        pixels[0] =
            column < row.in_width ? input + column * row.pixel_stride : row.padding + channel;
      } else {
        pixels[0] = next;
        next = here(next + tap_step);
      }
#pragma GCC unroll 4
      for (size_t o = 1; o < kOutputs; ++o) pixels[o] = here(pixels[o - 1] + stride);
#pragma GCC unroll 4
      for (size_t v = 0; v < kVectors; ++v) {
        const Floats w = pin(Floats::load(weights + v * kLanes));
#pragma GCC unroll 4
        for (size_t o = 0; o < kOutputs; ++o) {
          acc[o][v] = Floats::fma(lanes.load(pixels[o] + v * kLanes), w, acc[o][v]);
        }
      }
    }
  }
  const Floats lo = Floats::of(row.lo);
  const Floats hi = Floats::of(row.hi);
#pragma GCC unroll 4
  for (size_t o = 0; o < kOutputs; ++o) {
    const float* residual = nullptr;
    if (row.residual != nullptr) residual = row.residual + (x + o) * row.residual_stride + channel;
    float* out = row.out + (x + o) * row.out_stride + channel;
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; ++v) {
      Floats value = acc[o][v];
      if (residual != nullptr) value = value + lanes.load(residual + v * kLanes);
      // NaN passes: it is the second operand.
      lanes.store(out + v * kLanes, Floats::min(hi, Floats::max(lo, value)));
    }
  }
}

// The outputs [begin, end) of a row that have no tap on padding.
struct Inside {
  size_t begin;
  size_t end;
};

inline Inside outputs_inside(const DwconvF32Row& row) {
  const auto stride = static_cast<ptrdiff_t>(row.geometry.stride_w);
  const auto window = static_cast<ptrdiff_t>((row.geometry.kernel_w - 1) * row.geometry.dilation_w);
  const auto width = static_cast<ptrdiff_t>(row.width);
  const ptrdiff_t last = static_cast<ptrdiff_t>(row.in_width) - 1 - window - row.first_column;
  ptrdiff_t begin = row.first_column < 0 ? (stride - 1 - row.first_column) / stride : 0;
  ptrdiff_t end = last < 0 ? 0 : last / stride + 1;
  if (begin > width) begin = width;
  if (end > width) end = width;
  if (end < begin) end = begin;
  return {static_cast<size_t>(begin), static_cast<size_t>(end)};
}

template <size_t kOutputs, typename Window, typename Lanes>
WBCQ_NOINLINE void convolve_row(const DwconvF32Row& shared_row, Inside inside, Lanes lanes,
                                const float* group, size_t channel) {
  const DwconvF32Row row = shared_row;  // a copy, which stores to the output cannot change
  size_t x = 0;
  for (; x < inside.begin; ++x) convolve<1, true, Window>(row, lanes, group, channel, x);
  for (; x + kOutputs <= inside.end; x += kOutputs) {
    convolve<kOutputs, false, Window>(row, lanes, group, channel, x);
  }
  for (; x + 2 <= inside.end; x += 2) convolve<2, false, Window>(row, lanes, group, channel, x);
  for (; x < row.width; ++x) convolve<1, true, Window>(row, lanes, group, channel, x);
}

template <typename Floats, size_t kOutputs, typename Window>
void convolve_groups(const DwconvF32Row& row) {
  constexpr size_t kLanes = Floats::kLanes;
  constexpr size_t kBlock = kGroupVectors * kLanes;
  static_assert(kBlock * sizeof(float) % 64 == 0, "groups would need padding (pack.h)");
  const size_t group_floats = kBlock * (1 + row.geometry.kernel_h * row.geometry.kernel_w);
  const Inside inside = outputs_inside(row);
  const float* group = row.packed;
  size_t c = 0;
  for (; row.channels - c >= kBlock; c += kBlock, group += group_floats) {
    convolve_row<kOutputs, Window>(row, inside, WholeVectors<Floats, kGroupVectors>(), group, c);
  }
  for (; row.channels - c >= kLanes; c += kLanes, group += kLanes) {
    convolve_row<kOutputs, Window>(row, inside, WholeVectors<Floats, 1>(), group, c);
  }
  if (c < row.channels) {
    convolve_row<kOutputs, Window>(row, inside, FirstLanes<Floats>{row.channels - c}, group, c);
  }
}

// kOutputs * kGroupVectors accumulators, a weight and a pixel have to fit the registers.
template <typename Floats, size_t kOutputs>
void dwconv_f32(const DwconvF32Row& row) {
  if (row.geometry.kernel_h == 3 && row.geometry.kernel_w == 3) {
    convolve_groups<Floats, kOutputs, FixedWindow<3, 3>>(row);
  } else {
    convolve_groups<Floats, kOutputs, AnyWindow>(row);
  }
}

}  // namespace
}  // namespace wbcq

#endif  // WBCQ_KERNELS_DWCONV_F32_VECTORIZED_H_
