// wbcq._core.Session
#include <pybind11/numpy.h>

#include <atomic>
#include <string>
#include <vector>

#include "engine/session.h"
#include "errors.h"
#include "format/message.h"
#include "register.h"

namespace wbcq::bindings {
namespace {

namespace py = pybind11;
using format::cat;
using format::quoted_name;

[[noreturn]] void throw_value_error(const std::string& message) {
  throw_status(Status(StatusCode::kInvalidArgument, message));
}

size_t non_negative(py::ssize_t value, const char* what) {
  if (value < 0) throw_value_error(cat(what, " is ", value, ", must be 0 or more"));
  return static_cast<size_t>(value);
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t dim : shape) text += cat(text.empty() ? "" : ", ", dim < 0 ? "N" : cat(dim));
  return cat("(", text, ")");
}

std::string shape_text(const py::array& array) {
  return shape_text(std::vector<int64_t>(array.shape(), array.shape() + array.ndim()));
}

// Checks one input and returns its batch size.
size_t check_input(const IoSpec& spec, const py::array& array) {
  if (!py::isinstance<py::array_t<float>>(array)) {
    throw_value_error(cat("input ", quoted_name(spec.name), " has dtype ",
                          py::str(array.dtype()).cast<std::string>(),
                          ", must be float32: use x.astype(numpy.float32)"));
  }
  bool agrees = array.ndim() == static_cast<py::ssize_t>(spec.shape.size());
  for (py::ssize_t i = 1; agrees && i < array.ndim(); ++i) {
    agrees = array.shape(i) == spec.shape[static_cast<size_t>(i)];
  }
  if (!agrees) {
    throw_value_error(cat("input ", quoted_name(spec.name), " has shape ", shape_text(array),
                          ", must be ", shape_text(spec.shape)));
  }
  constexpr int kRequired =
      py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  if ((array.flags() & kRequired) != kRequired) {
    throw_value_error(cat("input ", quoted_name(spec.name),
                          " is not C-contiguous: use numpy.ascontiguousarray(x)"));
  }
  return static_cast<size_t>(array.shape(0));
}

struct Inputs {
  std::vector<py::array> arrays;  // keeps the memory alive while the GIL is released
  std::vector<const float*> data;
  size_t batch = 0;
};

Inputs read_inputs(const Model& model, const py::sequence& sequence) {
  Inputs inputs;
  if (sequence.size() != model.inputs().size()) {
    throw_value_error(
        cat("the model has ", model.inputs().size(), " inputs, ", sequence.size(), " were given"));
  }
  for (size_t i = 0; i < sequence.size(); ++i) {
    const IoSpec& spec = model.inputs()[i];
    const py::object item = sequence[i];
    if (!py::isinstance<py::array>(item)) {
      throw_value_error(cat("input ", quoted_name(spec.name), " is a ",
                            py::str(py::type::of(item).attr("__name__")).cast<std::string>(),
                            ", must be a numpy array"));
    }
    auto array = py::reinterpret_borrow<py::array>(item);
    const size_t batch = check_input(spec, array);
    if (i > 0 && batch != inputs.batch) {
      throw_value_error(cat("input ", quoted_name(spec.name), " has ", batch, " pictures, input ",
                            quoted_name(model.inputs()[0].name), " has ", inputs.batch));
    }
    inputs.batch = batch;
    inputs.data.push_back(static_cast<const float*>(array.data()));
    inputs.arrays.push_back(std::move(array));
  }
  return inputs;
}

template <typename F>
auto without_gil(F f) {
  const py::gil_scoped_release release;
  return f();
}

class PySession {
 public:
  PySession(const PyModel& model, py::ssize_t threads) {
    const size_t count = non_negative(threads, "threads");
    session_ = value_or_throw(without_gil([&] { return Session::create(model.model, count); }));
  }

  size_t threads() const { return session_->threads(); }
  size_t max_chunk() const { return session_->max_chunk(); }

  py::list run(const py::sequence& sequence) {
    const Inputs inputs = read_inputs(session_->model(), sequence);
    py::list arrays;
    std::vector<float*> outputs;
    for (const IoSpec& spec : session_->model().outputs()) {
      std::vector<py::ssize_t> shape(spec.shape.begin(), spec.shape.end());
      shape[0] = static_cast<py::ssize_t>(inputs.batch);
      py::array_t<float> array(shape);
      outputs.push_back(array.mutable_data());
      arrays.append(std::move(array));
    }
    const Claim claim(in_use_);
    throw_if_error(without_gil([&] { return session_->run(inputs.batch, inputs.data, outputs); }));
    return arrays;
  }

  py::list profile(const py::sequence& sequence, py::ssize_t repeats) {
    const Inputs inputs = read_inputs(session_->model(), sequence);
    const size_t count = non_negative(repeats, "repeats");
    const Claim claim(in_use_);
    const auto profiles = value_or_throw(
        without_gil([&] { return session_->profile(inputs.batch, inputs.data, count); }));
    py::list list;
    for (const OpProfile& profile : profiles) {
      py::dict entry;
      entry["name"] = profile.name;
      entry["kind"] = profile.kind;
      entry["kernel"] = profile.kernel;
      entry["seconds"] = profile.seconds;
      entry["macs"] = profile.macs;
      entry["bytes"] = profile.bytes;
      list.append(entry);
    }
    return list;
  }

  void run_op(py::ssize_t op, py::ssize_t batch, py::ssize_t repeats) {
    const size_t index = non_negative(op, "op");
    const size_t pictures = non_negative(batch, "batch");
    const size_t times = non_negative(repeats, "repeats");
    const Claim claim(in_use_);
    throw_if_error(without_gil([&] {
      Status status;
      for (size_t i = 0; i < times && status.ok(); ++i) status = session_->run_op(index, pictures);
      return status;
    }));
  }

  py::dict memory(py::ssize_t batch) const {
    const MemoryUse use = session_->memory(non_negative(batch, "batch"));
    py::dict entry;
    entry["arena"] = use.arena;
    entry["scratch"] = use.scratch;
    entry["tables"] = use.tables;
    entry["packed_weights"] = use.packed_weights;
    return entry;
  }

 private:
  // Without the GIL nothing else would keep a second thread out.
  class Claim {
   public:
    explicit Claim(std::atomic_flag& flag) : flag_(flag) {
      if (flag_.test_and_set(std::memory_order_acquire)) {
        throw_value_error("the session is running in another thread: use one session a thread");
      }
    }
    ~Claim() { flag_.clear(std::memory_order_release); }
    Claim(const Claim&) = delete;
    Claim& operator=(const Claim&) = delete;

   private:
    std::atomic_flag& flag_;
  };

  std::unique_ptr<Session> session_;
  std::atomic_flag in_use_;
};

}  // namespace

void register_session(py::module_& module) {
  py::class_<PySession>(module, "Session", "One caller's memory and threads for a model.")
      .def(py::init<const PyModel&, py::ssize_t>(), py::arg("model"), py::arg("threads") = 0)
      .def_property_readonly("threads", &PySession::threads)
      .def_property_readonly("max_chunk", &PySession::max_chunk)
      .def("run", &PySession::run, py::arg("inputs"))
      .def("profile", &PySession::profile, py::arg("inputs"), py::arg("repeats") = 20)
      .def("run_op", &PySession::run_op, py::arg("op"), py::arg("batch") = 1,
           py::arg("repeats") = 1)
      .def("memory", &PySession::memory, py::arg("batch"));
}

}  // namespace wbcq::bindings
