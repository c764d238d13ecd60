#include "cpu/cpu_name.h"

#include <cstdint>
#include <cstdio>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace wbcq {
namespace {

std::string raw_name() {
#if defined(__x86_64__)
  constexpr uint32_t kExtended = 0x80000000, kFirst = 0x80000002, kLast = 0x80000004;
  uint32_t brand[12] = {};
  if (__get_cpuid_max(kExtended, nullptr) >= kLast) {
    for (uint32_t leaf = kFirst; leaf <= kLast; ++leaf) {
      uint32_t* part = brand + 4 * (leaf - kFirst);
      __get_cpuid(leaf, part, part + 1, part + 2, part + 3);
    }
  }
  uint32_t a = 0, b, c, d;
  __get_cpuid(1, &a, &b, &c, &d);
  // The extended parts are 0 where the plain ones say all.
  const uint32_t family = (a >> 8 & 0xF) + (a >> 20 & 0xFF);
  const uint32_t model = (a >> 4 & 0xF) + (a >> 12 & 0xF0);
  char text[sizeof(brand) + 32] = {};
  std::memcpy(text, brand, sizeof(brand));
  const size_t length = std::strlen(text);
  std::snprintf(text + length, sizeof(text) - length, " (%u.%u.%u)", family, model, a & 0xF);
  return text;
#elif defined(__aarch64__) && defined(__linux__)
  char text[64] = {};
  std::FILE* file = std::fopen("/sys/devices/system/cpu/cpu0/regs/identification/midr_el1", "r");
  if (file == nullptr) return "";
  const size_t size = std::fread(text, 1, sizeof(text) - 1, file);
  std::fclose(file);
  return std::string(text, size);
#else
  return "";
#endif
}

}  // namespace

std::string cpu_name() {
  std::string name;
  for (const char c : raw_name()) {
    const bool is_plain = c > ' ' && c <= '~' && c != '"' && c != '\\' && c != '|';
    if (is_plain) {
      name += c;
    } else if (!name.empty() && name.back() != ' ') {
      name += ' ';
    }
  }
  while (!name.empty() && name.back() == ' ') name.pop_back();
  return name.empty() ? "unknown" : name;
}

}  // namespace wbcq
