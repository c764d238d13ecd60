// Words for the numbers of a model file, in messages and listings.
#ifndef WBCQ_FORMAT_NAMES_H_
#define WBCQ_FORMAT_NAMES_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace wbcq::format {

// "f32", "u8", "i8", "i32"; empty for an unknown dtype.
std::string_view dtype_name(uint8_t dtype);
// Bytes of one element; 0 for an unknown dtype.
size_t dtype_size(uint8_t dtype);

// "strings", "tensors", ...; empty for an unknown kind.
std::string_view section_name(uint32_t kind);

// "conv2d", ...; empty for an unknown kind.
std::string_view op_kind_name(uint32_t kind);

// An attribute of an operator and the values that it may have.
struct AttrRule {
  std::string_view name;
  int32_t min;
  int32_t max;
  bool is_float = false;  // float32 bits; what they may be is up to the operator's validation
};
// In the order of OpRecord::attrs; attributes past the last rule are zero. `dtype` is that of the
// operator's first input.
std::span<const AttrRule> attr_rules(uint32_t kind, uint8_t dtype);

}  // namespace wbcq::format

#endif  // WBCQ_FORMAT_NAMES_H_
