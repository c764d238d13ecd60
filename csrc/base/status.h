// Error reporting for csrc. No exceptions, aborts or asserts on input: a function that can fail
// returns Status or Result<T>, and the message names the object, the value and the remedy.
#ifndef WBCQ_BASE_STATUS_H_
#define WBCQ_BASE_STATUS_H_

#include <optional>
#include <string>
#include <utility>

namespace wbcq {

enum class StatusCode {
  kOk = 0,
  kInvalidArgument = 1,  // a value the caller passed cannot be used
  kInvalidFile = 2,      // a model file is damaged or not a model file
  kUnsupported = 3,      // valid, but this build or CPU cannot run it
  kIo = 4,               // the operating system refused a file operation
  kOutOfMemory = 5,
};

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}
  static Status ok_status() { return Status(); }
  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}          // NOLINT: implicit by design
  Result(Status status) : status_(std::move(status)) {}  // NOLINT: implicit by design
  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  T& value() & { return *value_; }
  const T& value() const& { return *value_; }
  T&& value() && { return std::move(*value_); }

 private:
  std::optional<T> value_;
  Status status_;
};

// Returns from the enclosing function when the expression is not ok.
#define WBCQ_RETURN_IF_ERROR(expr)               \
  do {                                           \
    ::wbcq::Status wbcq_status_ = (expr);        \
    if (!wbcq_status_.ok()) return wbcq_status_; \
  } while (0)

}  // namespace wbcq

#endif  // WBCQ_BASE_STATUS_H_
