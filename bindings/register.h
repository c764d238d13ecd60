// What the parts of the extension module share.
#ifndef WBCQ_BINDINGS_REGISTER_H_
#define WBCQ_BINDINGS_REGISTER_H_

#include <pybind11/pybind11.h>

#include <memory>

#include "engine/model.h"

namespace wbcq::bindings {

struct PyModel {
  std::shared_ptr<const Model> model;
};

void register_model(pybind11::module_& module);
void register_session(pybind11::module_& module);
void register_build(pybind11::module_& module);

}  // namespace wbcq::bindings

#endif  // WBCQ_BINDINGS_REGISTER_H_
