#include "tools/arguments.h"

#include <algorithm>
#include <charconv>
#include <cstdio>

namespace wbcq::tools {
namespace {

bool contains(std::initializer_list<std::string_view> names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

Status invalid(const std::string& message) {
  return Status(StatusCode::kInvalidArgument, message + " (see --help)");
}

}  // namespace

Result<Arguments> Arguments::parse(int argc, char** argv,
                                   std::initializer_list<std::string_view> options,
                                   std::initializer_list<std::string_view> switches) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (!word.starts_with("--")) {
      arguments.operands_.emplace_back(word);
      continue;
    }
    const size_t equals = word.find('=');
    const std::string name(word.substr(2, equals == word.npos ? word.npos : equals - 2));
    if (contains(switches, name)) {
      if (equals != word.npos) return invalid("--" + name + " takes no value");
      arguments.values_[name];
    } else if (!contains(options, name)) {
      return invalid("unknown option --" + name);
    } else if (equals != word.npos) {
      arguments.values_[name].emplace_back(word.substr(equals + 1));
    } else if (i + 1 < argc) {
      arguments.values_[name].emplace_back(argv[++i]);
    } else {
      return invalid("--" + name + " needs a value");
    }
  }
  return arguments;
}

std::vector<std::string> Arguments::all(std::string_view name) const {
  const auto found = values_.find(name);
  return found == values_.end() ? std::vector<std::string>() : found->second;
}

std::string Arguments::text(std::string_view name, std::string_view otherwise) const {
  const std::vector<std::string> values = all(name);
  return values.empty() ? std::string(otherwise) : values.back();
}

Result<size_t> Arguments::number(std::string_view name, size_t otherwise, size_t least,
                                 size_t most) const {
  if (!has(name)) return otherwise;
  const std::string value = text(name, "");
  size_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || end != value.data() + value.size() || number < least ||
      number > most) {
    return invalid("--" + std::string(name) + " is \"" + value + "\", must be a whole number of " +
                   std::to_string(least) + ".." + std::to_string(most));
  }
  return number;
}

int report(std::string_view tool, const Status& status) {
  std::fprintf(stderr, "%.*s: %s\n", static_cast<int>(tool.size()), tool.data(),
               status.message().c_str());
  return status.code() == StatusCode::kInvalidArgument ? 2 : 1;
}

}  // namespace wbcq::tools
