// The end of an operator that computes a u8 result: one rounding, a clamp and, where the activation
// is no clamp, a table.
#ifndef WBCQ_OPS_ROUNDING_H_
#define WBCQ_OPS_ROUNDING_H_

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "ops/op.h"

namespace wbcq {

// Where an operator's attributes are.
struct RoundingAttrs {
  int lo;
  int hi;
  int pre_scale;
  int pre_zero_point;
};

class Rounding {
 public:
  // `table_blob`: where the table is among the operator's blobs, if it has one.
  Rounding(const OpSource& source, const RoundingAttrs& attrs, size_t table_blob)
      : lookup_(*source.kernels->lookup),
        scale_(source.outputs[0]->scale),
        zero_point_(source.outputs[0]->zero_point),
        lo_(source.attrs[static_cast<size_t>(attrs.lo)]),
        hi_(source.attrs[static_cast<size_t>(attrs.hi)]) {
    if (source.blobs.size() <= table_blob) return;
    scale_ = std::bit_cast<float>(source.attrs[static_cast<size_t>(attrs.pre_scale)]);
    zero_point_ = source.attrs[static_cast<size_t>(attrs.pre_zero_point)];
    const std::span<const uint8_t> table = source.blobs[table_blob].as<uint8_t>();
    std::copy_n(table.begin(), 256, table_.emplace().begin());
  }

  // Of the rounded result.
  float scale() const { return scale_; }
  int32_t zero_point() const { return zero_point_; }
  int32_t lo() const { return lo_; }
  int32_t hi() const { return hi_; }

  bool has_table() const { return table_.has_value(); }
  // Looks rounded results up, in place.
  void apply_table(uint8_t* out, size_t stride, size_t pixels, size_t channels) const {
    if (table_) lookup_.lookup_u8({pixels, channels, out, stride, out, stride, table_->data()});
  }

 private:
  const LookupKernels& lookup_;
  float scale_;
  int32_t zero_point_;
  int32_t lo_;
  int32_t hi_;
  std::optional<std::array<uint8_t, 256>> table_;
};

}  // namespace wbcq

#endif  // WBCQ_OPS_ROUNDING_H_
