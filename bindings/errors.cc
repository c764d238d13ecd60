#include "errors.h"

#include <pybind11/pybind11.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace wbcq::bindings {
namespace {

namespace py = pybind11;

[[noreturn]] void throw_python(PyObject* type, const std::string& message) {
  PyErr_SetString(type, message.c_str());
  throw py::error_already_set();
}

[[noreturn]] void throw_named(const char* name, const std::string& message) {
  const py::object type = py::module_::import("wbcq.errors").attr(name);
  throw_python(type.ptr(), message);
}

// OSError chooses its subclass (FileNotFoundError, PermissionError, ...) by the error number.
int errno_of(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return errno;
  if (S_ISDIR(info.st_mode)) return EISDIR;
  if (access(path.c_str(), R_OK) != 0) return errno;
  return EIO;
}

}  // namespace

void throw_status(const Status& status) {
  switch (status.code()) {
    case StatusCode::kInvalidArgument:
      throw_python(PyExc_ValueError, status.message());
    case StatusCode::kInvalidFile:
      throw_named("ModelFileError", status.message());
    case StatusCode::kIo:
      throw_python(PyExc_OSError, status.message());
    case StatusCode::kOutOfMemory:
      throw_python(PyExc_MemoryError, status.message());
    case StatusCode::kOk:
    case StatusCode::kUnsupported:
      break;
  }
  throw_named("WbcqError", status.message());
}

void throw_load_status(const Status& status, const std::string& path) {
  if (status.code() == StatusCode::kUnsupported) throw_named("ModelFileError", status.message());
  if (status.code() == StatusCode::kIo && !path.empty()) {
    const py::tuple arguments = py::make_tuple(errno_of(path), status.message());
    PyErr_SetObject(PyExc_OSError, arguments.ptr());
    throw py::error_already_set();
  }
  throw_status(status);
}

}  // namespace wbcq::bindings
