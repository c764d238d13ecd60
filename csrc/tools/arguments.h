// Command lines of the tools: "--name value", "--name=value", "--switch" and operands.
#ifndef WBCQ_TOOLS_ARGUMENTS_H_
#define WBCQ_TOOLS_ARGUMENTS_H_

#include <cstddef>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace wbcq::tools {

class Arguments {
 public:
  // Names without their dashes. An option that is in neither list is kInvalidArgument.
  static Result<Arguments> parse(int argc, char** argv,
                                 std::initializer_list<std::string_view> options,
                                 std::initializer_list<std::string_view> switches);

  const std::vector<std::string>& operands() const { return operands_; }
  bool has(std::string_view name) const { return values_.contains(name); }
  // Every value of an option, in order.
  std::vector<std::string> all(std::string_view name) const;
  // The last value of an option.
  std::string text(std::string_view name, std::string_view otherwise) const;
  // A whole number of [least, most].
  Result<size_t> number(std::string_view name, size_t otherwise, size_t least, size_t most) const;

 private:
  std::vector<std::string> operands_;
  std::map<std::string, std::vector<std::string>, std::less<>> values_;
};

// Prints "<tool>: <message>" to stderr and returns the exit status: 2 for a wrong command line,
// else 1.
int report(std::string_view tool, const Status& status);

}  // namespace wbcq::tools

#endif  // WBCQ_TOOLS_ARGUMENTS_H_
