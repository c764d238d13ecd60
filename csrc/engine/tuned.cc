#include "engine/tuned.h"

#include "cpu/cpu_name.h"
#include "format/message.h"

namespace wbcq {

std::string tuned_key(Isa isa, size_t threads) {
  return format::cat(cpu_name(), "|", isa_name(isa), "|", threads);
}

std::string_view tuned_choices(std::string_view metadata, std::string_view key, size_t operators) {
  const std::string before = format::cat("\"", key, "\":\"");
  const size_t at = metadata.find(before);
  if (at == std::string_view::npos) return {};
  const std::string_view rest = metadata.substr(at + before.size());
  return rest.find('"') == operators ? rest.substr(0, operators) : std::string_view();
}

}  // namespace wbcq
