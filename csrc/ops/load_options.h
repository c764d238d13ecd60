// What whoever loads a model may choose. No choice changes a result's bits, but for the sign of
// zeros in float.
#ifndef WBCQ_OPS_LOAD_OPTIONS_H_
#define WBCQ_OPS_LOAD_OPTIONS_H_

#include <cstddef>
#include <span>
#include <string_view>

#include "base/status.h"

namespace wbcq {

enum class MemoryChoice {
  kSpeed,  // whatever is fastest
  kSmall,  // batches run picture by picture; weights are packed once and in no larger form
};

// How one operator computes: "dense", or "sparse" where the zero blocks of its weights are left
// out.
struct KernelChoice {
  std::string_view op;  // its name
  std::string_view kernel;
};

struct LoadOptions {
  std::string_view isa = {};  // see select_isa()
  MemoryChoice memory = MemoryChoice::kSpeed;
  // For operators that are not named the file's choices for this CPU count, if it was tuned here
  // with `threads`, else the engine decides.
  std::span<const KernelChoice> choices = {};
  size_t threads = 0;  // of the sessions; 0 for default_thread_count()
};

// "speed" or "small".
Result<MemoryChoice> memory_choice(std::string_view name);
std::string_view memory_name(MemoryChoice choice);

}  // namespace wbcq

#endif  // WBCQ_OPS_LOAD_OPTIONS_H_
