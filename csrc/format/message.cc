#include "format/message.h"

#include <cstddef>
#include <cstdint>
#include <cstdio>

namespace wbcq::format {
namespace {

constexpr size_t kShownBytes = 120;

// Bytes of the UTF-8 sequence at `text`, or 0 if it is malformed.
size_t sequence_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte(0);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xC2 && first <= 0xDF   ? 2
                        : first >= 0xE0 && first <= 0xEF ? 3
                        : first >= 0xF0 && first <= 0xF4 ? 4
                                                         : 0;
  if (length == 0 || length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  // The second byte's range excludes overlong forms, surrogates and what is past U+10FFFF.
  if (first == 0xE0 && byte(1) < 0xA0) return 0;
  if (first == 0xED && byte(1) > 0x9F) return 0;
  if (first == 0xF0 && byte(1) < 0x90) return 0;
  if (first == 0xF4 && byte(1) > 0x8F) return 0;
  return length;
}

}  // namespace

void Part::append_to(std::string& message) const {
  char digits[32];
  switch (kind_) {
    case Kind::kText:
      message.append(text_);
      break;
    case Kind::kSigned:
      message.append(std::to_string(signed_));
      break;
    case Kind::kUnsigned:
      message.append(std::to_string(unsigned_));
      break;
    case Kind::kReal:
      std::snprintf(digits, sizeof(digits), "%.9g", real_);
      message.append(digits);
      break;
  }
}

std::string join(std::initializer_list<Part> parts) {
  std::string message;
  for (const Part& part : parts) part.append_to(message);
  return message;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = sequence_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string quoted_name(std::string_view name) {
  std::string text(1, '\'');
  while (!name.empty()) {
    if (text.size() > kShownBytes) {
      text += "...";
      break;
    }
    const size_t length = sequence_length(name);
    const uint8_t first = static_cast<uint8_t>(name[0]);
    if (length == 0 || first < 0x20 || first == 0x7F) {
      char escape[8];
      std::snprintf(escape, sizeof(escape), "\\x%02x", first);
      text += escape;
      name.remove_prefix(1);
    } else {
      text += name.substr(0, length);
      name.remove_prefix(length);
    }
  }
  text.push_back('\'');
  return text;
}

}  // namespace wbcq::format
