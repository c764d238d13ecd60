#include "ops/load_options.h"

#include <string>

namespace wbcq {

Result<MemoryChoice> memory_choice(std::string_view name) {
  if (name == "speed") return MemoryChoice::kSpeed;
  if (name == "small") return MemoryChoice::kSmall;
  return Status(StatusCode::kInvalidArgument,
                "memory is \"" + std::string(name) + "\", must be \"speed\" or \"small\"");
}

std::string_view memory_name(MemoryChoice choice) {
  return choice == MemoryChoice::kSmall ? "small" : "speed";
}

}  // namespace wbcq
