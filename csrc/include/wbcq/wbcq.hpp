// wbcq.h for C++17: objects that free themselves, errors as exceptions. Header only.
//
//   wbcq::api::Model model("net.wbcq");
//   wbcq::api::Session session(model);
//   std::vector<std::vector<float>> outputs = session.run(1, {pixels});
#ifndef WBCQ_WBCQ_HPP_
#define WBCQ_WBCQ_HPP_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "wbcq/wbcq.h"

namespace wbcq::api {

class Error : public std::runtime_error {
 public:
  Error(wbcq_status status, const std::string& message)
      : std::runtime_error(message), status_(status) {}
  wbcq_status status() const { return status_; }

 private:
  wbcq_status status_;
};

inline void check(wbcq_status status) {
  if (status != WBCQ_OK) throw Error(status, wbcq_last_error());
}

struct Io {
  std::string name;
  std::vector<int64_t> shape;  // shape[0] is -1, the batch
  size_t elements;             // floats of one picture
};

class Model {
 public:
  // threads: as in wbcq_load_options.
  explicit Model(const std::string& path, const std::string& isa = "",
                 wbcq_memory_choice memory = WBCQ_MEMORY_SPEED, int threads = 0) {
    const wbcq_load_options options = {sizeof(options), isa.c_str(), memory, threads, nullptr, 0};
    wbcq_model* model = nullptr;
    check(wbcq_model_open_with(path.c_str(), &options, &model));
    model_.reset(model);
  }
  Model(const void* data, size_t bytes, const std::string& isa = "",
        wbcq_memory_choice memory = WBCQ_MEMORY_SPEED, int threads = 0) {
    const wbcq_load_options options = {sizeof(options), isa.c_str(), memory, threads, nullptr, 0};
    wbcq_model* model = nullptr;
    check(wbcq_model_from_memory_with(data, bytes, &options, &model));
    model_.reset(model);
  }

  std::string isa() const { return wbcq_model_isa(get()); }
  wbcq_memory_choice memory() const { return wbcq_model_memory(get()); }
  std::string metadata() const { return wbcq_model_metadata(get()); }
  std::vector<Io> inputs() const {
    return read_all(wbcq_model_input_count(get()), wbcq_model_input);
  }
  std::vector<Io> outputs() const {
    return read_all(wbcq_model_output_count(get()), wbcq_model_output);
  }
  const wbcq_model* get() const { return model_.get(); }

 private:
  using Reader = wbcq_status (*)(const wbcq_model*, size_t, wbcq_io*);
  std::vector<Io> read_all(size_t count, Reader read) const {
    std::vector<Io> all;
    for (size_t i = 0; i < count; ++i) {
      wbcq_io io;
      check(read(get(), i, &io));
      all.push_back({io.name, {io.shape, io.shape + io.rank}, io.elements});
    }
    return all;
  }

  struct Free {
    void operator()(wbcq_model* model) const { wbcq_model_free(model); }
  };
  std::unique_ptr<wbcq_model, Free> model_;
};

class Session {
 public:
  // threads: 0 for as many as the machine has cores.
  explicit Session(const Model& model, size_t threads = 0)
      : inputs_(model.inputs()), outputs_(model.outputs()) {
    wbcq_session* session = nullptr;
    check(wbcq_session_create(model.get(), threads, &session));
    session_.reset(session);
  }

  size_t threads() const { return wbcq_session_threads(session_.get()); }

  wbcq_memory memory(size_t batch) const {
    wbcq_memory memory;
    check(wbcq_session_memory(session_.get(), batch, &memory));
    return memory;
  }

  // inputs[i] holds `batch` pictures of the model's i-th input, and so does the result for outputs.
  std::vector<std::vector<float>> run(size_t batch, const std::vector<std::vector<float>>& inputs) {
    std::vector<const float*> from;
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (i < inputs_.size() && inputs[i].size() != batch * inputs_[i].elements) {
        throw Error(WBCQ_INVALID_ARGUMENT,
                    "input \"" + inputs_[i].name + "\" has " + std::to_string(inputs[i].size()) +
                        " values, must have " + std::to_string(batch * inputs_[i].elements));
      }
      from.push_back(inputs[i].data());
    }
    std::vector<std::vector<float>> outputs;
    std::vector<float*> to;
    for (const Io& output : outputs_) outputs.emplace_back(batch * output.elements);
    for (std::vector<float>& output : outputs) to.push_back(output.data());
    run(batch, from, to);
    return outputs;
  }

  // Without copies: see wbcq_session_run().
  void run(size_t batch, const std::vector<const float*>& inputs,
           const std::vector<float*>& outputs) {
    check(wbcq_session_run(session_.get(), batch, inputs.data(), inputs.size(), outputs.data(),
                           outputs.size()));
  }

 private:
  struct Free {
    void operator()(wbcq_session* session) const { wbcq_session_free(session); }
  };
  std::vector<Io> inputs_;
  std::vector<Io> outputs_;
  std::unique_ptr<wbcq_session, Free> session_;
};

}  // namespace wbcq::api

#endif  // WBCQ_WBCQ_HPP_
