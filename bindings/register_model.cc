// wbcq._core.Model
#include <string>
#include <utility>
#include <vector>

#include "errors.h"
#include "register.h"

namespace wbcq::bindings {
namespace {

namespace py = pybind11;

// A bad `isa` is the caller's mistake, not the file's.
void check_isa(const std::string& isa) {
  const Result<Isa> selected = select_isa(isa);
  if (selected.ok()) return;
  throw_status(Status(StatusCode::kInvalidArgument, selected.status().message()));
}

PyModel finish(Result<std::shared_ptr<const Model>> model, const std::string& path) {
  if (!model.ok()) throw_load_status(model.status(), path);
  return {std::move(model).value()};
}

// LoadOptions and what they refer to.
class Options {
 public:
  Options(const std::string& isa, const std::string& memory, const py::dict& choices,
          size_t threads) {
    check_isa(isa);
    names_.reserve(choices.size());
    for (const auto& [op, kernel] : choices) {
      names_.emplace_back(op.cast<std::string>(), kernel.cast<std::string>());
      choices_.push_back({names_.back().first, names_.back().second});
    }
    options_ = {isa, value_or_throw(memory_choice(memory)), choices_, threads};
  }
  Options(const Options&) = delete;
  Options& operator=(const Options&) = delete;
  const LoadOptions& get() const { return options_; }

 private:
  std::vector<std::pair<std::string, std::string>> names_;
  std::vector<KernelChoice> choices_;
  LoadOptions options_;
};

PyModel open_model(const py::object& path_like, const std::string& isa, const std::string& memory,
                   const py::dict& choices, size_t threads) {
  const py::module_ os = py::module_::import("os");
  const auto path = os.attr("fsencode")(path_like).cast<std::string>();
  const Options options(isa, memory, choices, threads);
  Result<std::shared_ptr<const Model>> model = [&] {
    const py::gil_scoped_release release;
    return Model::open(path, options.get());
  }();
  return finish(std::move(model), path);
}

PyModel model_from_bytes(const py::bytes& data, const std::string& isa, const std::string& memory,
                         const py::dict& choices, size_t threads) {
  const Options options(isa, memory, choices, threads);
  char* begin = nullptr;
  py::ssize_t size = 0;
  if (PyBytes_AsStringAndSize(data.ptr(), &begin, &size) != 0) throw py::error_already_set();
  const std::span bytes(reinterpret_cast<const std::byte*>(begin), static_cast<size_t>(size));
  Result<std::shared_ptr<const Model>> model = [&] {
    const py::gil_scoped_release release;
    return Model::from_bytes(bytes, options.get());
  }();
  return finish(std::move(model), "");
}

PyModel model_from_descriptor(int descriptor, const std::string& isa, const std::string& memory,
                              const py::dict& choices, size_t threads) {
  const Options options(isa, memory, choices, threads);
  Result<std::shared_ptr<const Model>> model = [&] {
    const py::gil_scoped_release release;
    return Model::open(descriptor, options.get());
  }();
  return finish(std::move(model), "");
}

py::list describe(const std::vector<IoSpec>& specs) {
  py::list list;
  for (const IoSpec& spec : specs) {
    py::tuple shape(spec.shape.size());
    for (size_t i = 0; i < spec.shape.size(); ++i) shape[i] = spec.shape[i];
    py::dict entry;
    entry["name"] = spec.name;
    entry["shape"] = shape;
    list.append(entry);
  }
  return list;
}

}  // namespace

void register_model(py::module_& module) {
  py::class_<PyModel>(module, "Model", "A loaded and packed model; immutable.")
      .def(py::init(&open_model), py::arg("path"), py::arg("isa") = "", py::arg("memory") = "speed",
           py::arg("choices") = py::dict(), py::arg("threads") = 0)
      .def_static("from_bytes", &model_from_bytes, py::arg("data"), py::arg("isa") = "",
                  py::arg("memory") = "speed", py::arg("choices") = py::dict(),
                  py::arg("threads") = 0)
      .def_static("from_descriptor", &model_from_descriptor, py::arg("descriptor"),
                  py::arg("isa") = "", py::arg("memory") = "speed", py::arg("choices") = py::dict(),
                  py::arg("threads") = 0)
      .def_property_readonly(
          "isa", [](const PyModel& self) { return std::string(isa_name(self.model->isa())); })
      .def_property_readonly(
          "memory",
          [](const PyModel& self) { return std::string(memory_name(self.model->memory())); })
      .def_property_readonly("metadata", [](const PyModel& self) { return self.model->metadata(); })
      .def_property_readonly("inputs",
                             [](const PyModel& self) { return describe(self.model->inputs()); })
      .def_property_readonly("outputs",
                             [](const PyModel& self) { return describe(self.model->outputs()); })
      .def_property_readonly("packed_bytes",
                             [](const PyModel& self) { return self.model->packed_bytes(); });
}

}  // namespace wbcq::bindings
