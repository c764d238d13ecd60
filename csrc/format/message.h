// Text of error messages.
#ifndef WBCQ_FORMAT_MESSAGE_H_
#define WBCQ_FORMAT_MESSAGE_H_

#include <concepts>
#include <cstdio>
#include <string>
#include <string_view>

namespace wbcq::format {

inline std::string to_text(std::string_view text) { return std::string(text); }
inline std::string to_text(std::integral auto number) { return std::to_string(number); }
inline std::string to_text(std::floating_point auto number) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.9g", static_cast<double>(number));
  return text;
}

template <typename... Parts>
std::string cat(const Parts&... parts) {
  std::string text;
  (text.append(to_text(parts)), ...);
  return text;
}

// A name out of a file in quotation marks, shortened, its control characters made visible.
std::string quoted_name(std::string_view name);

// True for well-formed UTF-8 (no surrogates, no overlong forms).
bool is_utf8(std::string_view text);

}  // namespace wbcq::format

#endif  // WBCQ_FORMAT_MESSAGE_H_
