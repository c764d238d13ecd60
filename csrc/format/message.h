// Text of error messages.
#ifndef WBCQ_FORMAT_MESSAGE_H_
#define WBCQ_FORMAT_MESSAGE_H_

#include <concepts>
#include <initializer_list>
#include <string>
#include <string_view>

namespace wbcq::format {

// A piece of a message: text or a number. One type for all, so that a message costs its call alone
// and no instance of a template.
class Part {
 public:
  Part(std::string_view text) : kind_(Kind::kText), text_(text) {}                   // NOLINT
  Part(const std::string& text) : Part(std::string_view(text)) {}                    // NOLINT
  Part(const char* text) : Part(std::string_view(text)) {}                           // NOLINT
  Part(std::signed_integral auto number) : kind_(Kind::kSigned), signed_(number) {}  // NOLINT
  Part(std::unsigned_integral auto number)                                           // NOLINT
      : kind_(Kind::kUnsigned), unsigned_(number) {}
  Part(std::floating_point auto number)  // NOLINT
      : kind_(Kind::kReal), real_(static_cast<double>(number)) {}

  void append_to(std::string& message) const;

 private:
  enum class Kind { kText, kSigned, kUnsigned, kReal };
  Kind kind_;
  union {
    std::string_view text_;
    long long signed_;
    unsigned long long unsigned_;
    double real_;
  };
};

std::string join(std::initializer_list<Part> parts);

template <typename... Parts>
[[gnu::always_inline]] inline std::string cat(const Parts&... parts) {
  return join({Part(parts)...});
}

// A name out of a file in quotation marks, shortened, its control characters made visible.
std::string quoted_name(std::string_view name);

// True for well-formed UTF-8 (no surrogates, no overlong forms).
bool is_utf8(std::string_view text);

}  // namespace wbcq::format

#endif  // WBCQ_FORMAT_MESSAGE_H_
