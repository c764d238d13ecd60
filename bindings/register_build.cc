// What this build and this machine can do.
#include <pybind11/stl.h>

#include <string>
#include <utility>
#include <vector>

#include "cpu/cpu_name.h"
#include "cpu/isa.h"
#include "engine/bandwidth.h"
#include "engine/peak.h"
#include "errors.h"
#include "register.h"
#include "threading/thread_count.h"

namespace wbcq::bindings {
namespace {

namespace py = pybind11;

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Isa isa : supported_isas()) names.emplace_back(isa_name(isa));
  return names;
}

size_t default_threads() { return value_or_throw(default_thread_count()); }

double peak(const std::string& isa, py::ssize_t threads) {
  const Result<Isa> selected = select_isa(isa);
  if (!selected.ok()) {
    throw_status(Status(StatusCode::kInvalidArgument, selected.status().message()));
  }
  const size_t count = threads < 0 ? 0 : static_cast<size_t>(threads);
  Result<Peak> result = [&] {
    const py::gil_scoped_release release;
    return measure_peak(selected.value(), count);
  }();
  return value_or_throw(std::move(result)).gmacs;
}

std::vector<std::pair<size_t, double>> bandwidths(py::ssize_t threads) {
  const size_t count = threads < 0 ? 0 : static_cast<size_t>(threads);
  Result<std::vector<Bandwidth>> result = [&] {
    const py::gil_scoped_release release;
    return measure_bandwidths(count);
  }();
  std::vector<std::pair<size_t, double>> pairs;
  for (const Bandwidth& bandwidth : value_or_throw(std::move(result))) {
    pairs.emplace_back(bandwidth.bytes, bandwidth.gigabytes);
  }
  return pairs;
}

py::dict build_info() {
  py::dict info;
  info["version"] = WBCQ_VERSION;
#if defined(__clang__)
  info["compiler"] = "Clang " __clang_version__;
#else
  info["compiler"] = "GCC " __VERSION__;
#endif
#if defined(__x86_64__)
  info["architecture"] = "x86_64";
#elif defined(__aarch64__)
  info["architecture"] = "aarch64";
#else
  info["architecture"] = "other";
#endif
#if defined(NDEBUG)
  info["build_type"] = "release";
#else
  info["build_type"] = "debug";
#endif
  info["isas"] = available_isas();
  return info;
}

}  // namespace

void register_build(py::module_& module) {
  module.def("available_isas", &available_isas);
  module.def("default_threads", &default_threads);
  module.def("cpu_name", &cpu_name);
  module.def("measure_peak", &peak, py::arg("isa") = "", py::arg("threads") = 1);
  module.def("measure_bandwidths", &bandwidths, py::arg("threads") = 1);
  module.def("build_info", &build_info);
}

}  // namespace wbcq::bindings
