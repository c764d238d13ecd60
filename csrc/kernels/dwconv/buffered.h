// Depthwise convolution with any window, for every ISA. For one group of channels and a stretch of
// the row, the input under the windows is copied into a buffer that stays in L1, in the order in
// which the ISA multiplies it. Padding, channel tails and dilation are dealt with on the way;
// multiplying then reads nothing but whole vectors at known distances (docs/design/depthwise.md).
//
// Simd is what an ISA contributes:
//
//   kBlock        channels of a group
//   kStepTaps     taps of a step (DwconvLayout::step_taps)
//   kStepBytes    bytes of a step's input in the buffer
//   kWeightBytes  bytes of a step's weights
//   kSkewBytes    added to the distance of two columns where a column has several steps
//   kOutputs      outputs that multiply() computes at a time
//   Epilogue, Residual              constants, made of a DwconvRow
//   interleave(lanes, pixels, to)   writes the step of kStepTaps pixels
//   multiply<outputs, has residual>(window, epilogue, residual, columns, group, target)
//   join(lanes, pixels, to), split(lanes, from, pixels)   between pixels and a whole pixel
//   run_groups<Kernel>(row)         calls Kernel::run() for ranges of channels
//
// and Lanes says what a group of channels fills of a whole pixel: kPieces stretches of the row side
// by side, one where there are enough channels (repeat_group() then fits the weights); load() and
// save() of one piece; kWhole, true if pixels may be read and written as whole vectors. Everything
// is local to the file that includes it.
#ifndef WBCQ_KERNELS_DWCONV_BUFFERED_H_
#define WBCQ_KERNELS_DWCONV_BUFFERED_H_

#include "kernels/dwconv/dwconv.h"
#include "kernels/dwconv/window.h"

namespace wbcq {
namespace {

// One step of each of `count` columns; pixel t of row i lies at rows[i] + t * stride.
template <typename Simd, typename Lanes>
WBCQ_NOINLINE void interleave(const Lanes lanes, const uint8_t* const (&rows)[Simd::kStepTaps],
                              size_t stride, size_t count, std::byte* to, size_t to_stride) {
  const uint8_t* pixels[Simd::kStepTaps];
  for (size_t i = 0; i < Simd::kStepTaps; ++i) pixels[i] = rows[i];
  for (; count > 0; --count, to += to_stride) {
    Simd::interleave(lanes, pixels, to);
    for (const uint8_t*& pixel : pixels) pixel += stride;
  }
}

template <typename Lanes>
WBCQ_NOINLINE void copy(const Lanes lanes, const uint8_t* from, size_t stride, size_t count,
                        uint8_t* to, size_t to_stride) {
  for (; count > 0; --count, from += stride, to += to_stride) lanes.save(to, lanes.load(from));
}

// Copies the columns of a stretch, channels from `channel` on, into the buffer.
template <typename Simd, typename Lanes>
void fill(const DwconvRow& row, const Lanes& lanes, const Shape<Simd>& shape,
          const Stretch& stretch, size_t channel, std::byte* buffer) {
  constexpr size_t kTaps = Simd::kStepTaps;
  const size_t last_row = row.geometry.kernel_h - 1;
  for (size_t i = 0; i < stretch.segments; ++i) {
    const Segment& segment = stretch.segment[i];
    for (size_t step = 0; step < shape.column_steps; ++step) {
      const uint8_t* rows[kTaps];
      for (size_t r = 0; r < kTaps; ++r) {
        // The weights of rows that the window lacks are zero: any pixel will do.
        rows[r] = stretch.pixel(row, segment, at_most(step * kTaps + r, last_row), channel);
      }
      interleave<Simd>(lanes, rows, segment.inside ? row.pixel_stride : 0, segment.count,
                       buffer + segment.begin * shape.bytes() + step * Simd::kStepBytes,
                       shape.bytes());
    }
  }
  if (shape.row_steps == 0) return;
  const size_t shift = row.geometry.dilation_w * Simd::kBlock;
  // Zeroes before the first column, which only weights of zero meet.
  alignas(64) uint8_t last[kLastRowBytes];
  uint8_t* const begin = last + columns_before<Simd>(row.geometry) * Simd::kBlock;
  for (uint8_t* p = last; p < begin; ++p) *p = 0;
  for (size_t i = 0; i < stretch.segments; ++i) {
    const Segment& segment = stretch.segment[i];
    copy(lanes, stretch.pixel(row, segment, last_row, channel),
         segment.inside ? row.pixel_stride : 0, segment.count, begin + segment.begin * Simd::kBlock,
         Simd::kBlock);
  }
  const uint8_t* rows[kTaps];
  for (size_t r = 0; r < kTaps; ++r) rows[r] = begin - r * shift;
  interleave<Simd>(lanes, rows, Simd::kBlock, stretch.columns,
                   buffer + shape.column_steps * Simd::kStepBytes, shape.bytes());
}

// Whole pixels: output x at out + x * out_stride, and its shortcut if there is one.
struct Target {
  uint8_t* out;
  size_t out_stride;
  const uint8_t* residual;
  size_t residual_stride;
};

template <typename Simd, bool kResidual, typename Window>
WBCQ_NOINLINE void multiply_stretch(const Window& window, const typename Simd::Epilogue epilogue,
                                    const typename Simd::Residual residual,
                                    const std::byte* columns, const std::byte* group, size_t width,
                                    Target target) {
  constexpr size_t kOutputs = Simd::kOutputs;
  for (; width >= kOutputs; width -= kOutputs) {
    Simd::template multiply<kOutputs, kResidual>(window, epilogue, residual, columns, group,
                                                 target);
    columns += kOutputs * window.stride_bytes();
    target.out += kOutputs * target.out_stride;
    if (kResidual) target.residual += kOutputs * target.residual_stride;
  }
  if constexpr (kOutputs > 3) {
    if (width == 3) {
      Simd::template multiply<3, kResidual>(window, epilogue, residual, columns, group, target);
    }
  }
  if constexpr (kOutputs > 2) {
    if (width == 2) {
      Simd::template multiply<2, kResidual>(window, epilogue, residual, columns, group, target);
    }
  }
  if (width == 1) {
    Simd::template multiply<1, kResidual>(window, epilogue, residual, columns, group, target);
  }
}

// The first output of a piece of `width` outputs. The last piece ends with the row: it may do
// outputs of the one before it again.
inline size_t piece_begin(size_t piece, size_t width, size_t row_width) {
  const size_t begin = piece * width;
  return begin + width <= row_width ? begin : row_width - width;
}

// Channels [first, first + channels) of a row: whole groups, or the last one.
template <typename Simd, typename Window>
struct RunBuffered {
  // As dwconv_group_bytes() says.
  static constexpr size_t group_bytes(size_t steps) {
    return (Simd::kBlock * 12 + steps * Simd::kWeightBytes + 63) / 64 * 64;
  }

  template <typename Lanes>
  static void run(const DwconvRow& row, const Lanes lanes, size_t first, size_t channels) {
    const Window window(row.geometry);
    const size_t bytes = group_bytes(window.steps());
    const size_t row_width = (row.width + Lanes::kPieces - 1) / Lanes::kPieces;
    const size_t most = max_outputs<Simd>(row.geometry) / Simd::kOutputs * Simd::kOutputs;
    alignas(64) std::byte repeated[Lanes::kPieces == 1 ? 1 : group_bytes(Window::kMostSteps)];
    const auto* groups = static_cast<const std::byte*>(row.packed) + first / Simd::kBlock * bytes;
    if constexpr (Lanes::kPieces > 1) groups = repeat_group(lanes, groups, bytes, repeated);
    for (size_t begin = 0; begin < row_width; begin += most) {
      run_stretch(row, lanes, window, begin, at_most(row_width - begin, most), row_width, first,
                  channels, groups);
    }
  }

 protected:
  template <typename Lanes>
  static void run_stretch(const DwconvRow& row, const Lanes& lanes, const Window& window,
                          size_t begin, size_t width, size_t row_width, size_t first,
                          size_t channels, const std::byte* group) {
    const DwconvGeometry& g = row.geometry;
    const size_t columns = (width - 1) * g.stride_w + window_columns(g);
    alignas(64) std::byte buffer[kBufferBytes];
    Stretch stretch[Lanes::kPieces];
    size_t x[Lanes::kPieces];
    for (size_t piece = 0; piece < Lanes::kPieces; ++piece) {
      x[piece] = piece_begin(piece, row_width, row.width) + begin;
      stretch[piece].divide(row, row.first_column + static_cast<ptrdiff_t>(x[piece] * g.stride_w),
                            columns);
    }
    for (size_t c = first; c < first + channels; c += Simd::kBlock) {
      for (size_t piece = 0; piece < Lanes::kPieces; ++piece) {
        fill<Simd>(row, lanes, window.shape(), stretch[piece], c,
                   buffer + piece * (Simd::kBlock / Lanes::kPieces));
      }
      multiply(row, lanes, window, buffer, group, x, width, c);
      group += group_bytes(window.steps());
    }
  }

  // Whole pixels go straight to the output; others by way of a row of whole ones.
  template <typename Lanes>
  static void multiply(const DwconvRow& row, const Lanes& lanes, const Window& window,
                       const std::byte* columns, const std::byte* group,
                       const size_t (&x)[Lanes::kPieces], size_t width, size_t channel) {
    const bool has_residual = row.residual != nullptr;
    const auto run = [&](const Target& target) {
      const typename Simd::Epilogue epilogue(row);
      const typename Simd::Residual residual(row);
      if constexpr (Window::kHasResidual) {
        if (has_residual) {
          multiply_stretch<Simd, true>(window, epilogue, residual, columns, group, width, target);
          return;
        }
      }
      multiply_stretch<Simd, false>(window, epilogue, residual, columns, group, width, target);
    };
    uint8_t* const out = static_cast<uint8_t*>(row.out) + channel;
    const uint8_t* const residual = has_residual ? row.residual + channel : nullptr;
    if constexpr (Lanes::kWhole) {
      const uint8_t* shortcut = has_residual ? residual + x[0] * row.residual_stride : nullptr;
      run({out + x[0] * row.out_stride, row.out_stride, shortcut, row.residual_stride});
    } else {
      alignas(64) uint8_t pixels[kLastRowBytes];
      uint8_t* to[Lanes::kPieces];
      const uint8_t* from[Lanes::kPieces];
      for (size_t piece = 0; piece < Lanes::kPieces; ++piece) {
        to[piece] = out + x[piece] * row.out_stride;
        if (has_residual) from[piece] = residual + x[piece] * row.residual_stride;
      }
      for (size_t i = 0; has_residual && i < width; ++i) {
        Simd::join(lanes, from, pixels + i * Simd::kBlock);
        for (const uint8_t*& p : from) p += row.residual_stride;
      }
      run({pixels, Simd::kBlock, pixels, Simd::kBlock});
      for (size_t i = 0; i < width; ++i) {
        Simd::split(lanes, pixels + i * Simd::kBlock, to);
        for (uint8_t*& p : to) p += row.out_stride;
      }
    }
  }
};

// A kernel's entry. A shortcut into a depthwise layer is rare: only AnyWindow knows of it.
template <typename Simd, typename Kernel>
void run_row(const DwconvRow& row) {
  if (row.residual == nullptr) {
    Simd::template run_groups<Kernel>(row);
  } else {
    Simd::template run_groups<RunBuffered<Simd, AnyWindow<Simd>>>(row);
  }
}

template <size_t kKernel, size_t kStride>
bool is_window(const DwconvGeometry& g) {
  return g.kernel_h == kKernel && g.kernel_w == kKernel && g.stride_w == kStride &&
         g.dilation_w == 1;
}

}  // namespace
}  // namespace wbcq

#endif  // WBCQ_KERNELS_DWCONV_BUFFERED_H_
