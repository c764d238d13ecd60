// The name of this CPU, which choices that were timed on one are stored under.
#ifndef WBCQ_CPU_CPU_NAME_H_
#define WBCQ_CPU_CPU_NAME_H_

#include <string>

namespace wbcq {

// On x86 the brand, which virtual machines may shorten, with family, model and stepping: "AMD EPYC
// (26.2.1)". On ARM the main identification register of the first core, "0x00000000414fd0b1".
// "unknown" where there is neither. Printable ASCII without quotes, backslashes and vertical bars,
// and no two spaces in a row.
std::string cpu_name();

}  // namespace wbcq

#endif  // WBCQ_CPU_CPU_NAME_H_
