// Which convolutions leave out the zero blocks of their weights. docs/design/sparse.md has the
// measurements behind the numbers.
#include <cstdlib>

#include "format/message.h"
#include "ops/conv2d.h"
#include "ops/sparse_weights.h"

namespace wbcq {

size_t choose_sparse_form(const Conv2dSpec& spec, SparseUse use, MemoryChoice /*memory*/) {
  if (use != SparseUse::kAlways || !can_use_sparse(spec)) return kSparseForms;
  const SparseCensus census = take_census(spec);
  return 8.0 * static_cast<double>(census.blocks[1]) < 2.75 * static_cast<double>(census.blocks[0])
             ? 1
             : 0;
}

Result<SparseUse> sparse_use_of_environment() {
  const char* value = std::getenv("WBCQ_SPARSE");
  if (value == nullptr || *value == '\0') return SparseUse::kMeasured;
  if (std::string_view(value) == "never") return SparseUse::kNever;
  if (std::string_view(value) == "always") return SparseUse::kAlways;
  return Status(StatusCode::kInvalidArgument,
                format::cat("environment variable WBCQ_SPARSE is \"", value,
                            "\"; use always or never, or leave it empty for the fastest"));
}

}  // namespace wbcq
