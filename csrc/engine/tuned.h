// What `wbcq tune` stored in a model file: how operators compute fastest on some CPUs.
#ifndef WBCQ_ENGINE_TUNED_H_
#define WBCQ_ENGINE_TUNED_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "cpu/isa.h"

namespace wbcq {

// Letters of tuned_choices(); any other leaves the choice to the engine.
inline constexpr char kTunedDense = 'd';
inline constexpr char kTunedSparse = 's';

// The key of a machine in the metadata's object "tuned": "<cpu_name()>|<ISA>|<threads>".
std::string tuned_key(Isa isa, size_t threads);

// A letter for each operator: the string that the metadata have under a key, or empty if there is
// none of this length. The metadata, JSON that is written compactly, are searched and not parsed:
// inside a string of theirs the quotes around a key would have backslashes.
std::string_view tuned_choices(std::string_view metadata, std::string_view key, size_t operators);

}  // namespace wbcq

#endif  // WBCQ_ENGINE_TUNED_H_
