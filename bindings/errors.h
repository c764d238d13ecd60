// The only place that turns Status into exceptions.
#ifndef WBCQ_BINDINGS_ERRORS_H_
#define WBCQ_BINDINGS_ERRORS_H_

#include <string>
#include <utility>

#include "base/status.h"

namespace wbcq::bindings {

// Throws the Python exception for a Status that is not ok; needs the GIL:
//   kInvalidArgument  ValueError
//   kInvalidFile      wbcq.errors.ModelFileError
//   kUnsupported      wbcq.errors.WbcqError
//   kIo               OSError
//   kOutOfMemory      MemoryError
[[noreturn]] void throw_status(const Status& status);

// As above for reading a model from `path`: kIo is the subclass of OSError for what is wrong with
// the path, kUnsupported is ModelFileError.
[[noreturn]] void throw_load_status(const Status& status, const std::string& path);

inline void throw_if_error(const Status& status) {
  if (!status.ok()) throw_status(status);
}

template <typename T>
T value_or_throw(Result<T> result) {
  throw_if_error(result.status());
  return std::move(result).value();
}

}  // namespace wbcq::bindings

#endif  // WBCQ_BINDINGS_ERRORS_H_
