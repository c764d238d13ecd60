#include "register.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "The C++ engine.";
  wbcq::bindings::register_model(module);
  wbcq::bindings::register_session(module);
  wbcq::bindings::register_build(module);
}
