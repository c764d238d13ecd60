// wbcq.h over the engine: Status becomes a code and a message of the calling thread.
#include <exception>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <utility>

#include "engine/model.h"
#include "engine/session.h"
#include "wbcq/wbcq.h"

struct wbcq_model {
  std::shared_ptr<const wbcq::Model> model;
  std::string isa;
};

struct wbcq_session {
  std::unique_ptr<wbcq::Session> session;
};

namespace {

using wbcq::Status;
using wbcq::StatusCode;

static_assert(WBCQ_INVALID_ARGUMENT == static_cast<int>(StatusCode::kInvalidArgument));
static_assert(WBCQ_INVALID_FILE == static_cast<int>(StatusCode::kInvalidFile));
static_assert(WBCQ_UNSUPPORTED == static_cast<int>(StatusCode::kUnsupported));
static_assert(WBCQ_IO == static_cast<int>(StatusCode::kIo));
static_assert(WBCQ_OUT_OF_MEMORY == static_cast<int>(StatusCode::kOutOfMemory));

thread_local std::string last_error;

// Runs f() -> Status. The standard library's exceptions, of which running out of memory is the only
// one to expect, end here.
template <typename F>
wbcq_status guarded(F f) {
  try {
    Status status = f();
    last_error = status.message();
    return static_cast<wbcq_status>(status.code());
  } catch (const std::exception&) {
    last_error = "out of memory";  // short enough for the string to allocate nothing
    return WBCQ_OUT_OF_MEMORY;
  }
}

std::string_view view_of(const char* text) { return text != nullptr ? text : std::string_view(); }

template <typename F>
wbcq_status load(wbcq_model** out, F read) {
  return guarded([&]() -> Status {
    *out = nullptr;
    auto model = read();
    if (!model.ok()) return model.status();
    std::string isa(wbcq::isa_name(model.value()->isa()));
    *out = new wbcq_model{std::move(model).value(), std::move(isa)};
    return Status();
  });
}

wbcq_status describe(const std::vector<wbcq::IoSpec>& specs, size_t index, const char* what,
                     wbcq_io* io) {
  return guarded([&]() -> Status {
    if (index >= specs.size()) {
      return Status(StatusCode::kInvalidArgument, std::string(what) + " " + std::to_string(index) +
                                                      " of " + std::to_string(specs.size()));
    }
    const wbcq::IoSpec& spec = specs[index];
    *io = {spec.name.c_str(), spec.shape.data(), spec.shape.size(), spec.elements};
    return Status();
  });
}

}  // namespace

const char* wbcq_version(void) { return WBCQ_VERSION; }

const char* wbcq_last_error(void) { return last_error.c_str(); }

wbcq_status wbcq_model_open(const char* path, const char* isa, wbcq_model** model) {
  return load(model, [&] { return wbcq::Model::open(path, view_of(isa)); });
}

wbcq_status wbcq_model_from_memory(const void* data, size_t bytes, const char* isa,
                                   wbcq_model** model) {
  return load(model, [&] {
    return wbcq::Model::from_bytes({static_cast<const std::byte*>(data), bytes}, view_of(isa));
  });
}

void wbcq_model_free(wbcq_model* model) { delete model; }

const char* wbcq_model_isa(const wbcq_model* model) { return model->isa.c_str(); }

const char* wbcq_model_metadata(const wbcq_model* model) {
  return model->model->metadata().c_str();
}

size_t wbcq_model_input_count(const wbcq_model* model) { return model->model->inputs().size(); }

size_t wbcq_model_output_count(const wbcq_model* model) { return model->model->outputs().size(); }

wbcq_status wbcq_model_input(const wbcq_model* model, size_t index, wbcq_io* io) {
  return describe(model->model->inputs(), index, "input", io);
}

wbcq_status wbcq_model_output(const wbcq_model* model, size_t index, wbcq_io* io) {
  return describe(model->model->outputs(), index, "output", io);
}

wbcq_status wbcq_session_create(const wbcq_model* model, size_t threads, wbcq_session** session) {
  return guarded([&]() -> Status {
    *session = nullptr;
    auto created = wbcq::Session::create(model->model, threads);
    if (!created.ok()) return created.status();
    *session = new wbcq_session{std::move(created).value()};
    return Status();
  });
}

void wbcq_session_free(wbcq_session* session) { delete session; }

size_t wbcq_session_threads(const wbcq_session* session) { return session->session->threads(); }

wbcq_status wbcq_session_memory(const wbcq_session* session, size_t batch, wbcq_memory* memory) {
  return guarded([&]() -> Status {
    const wbcq::MemoryUse use = session->session->memory(batch);
    *memory = {use.arena, use.scratch, use.tables, use.packed_weights};
    return Status();
  });
}

wbcq_status wbcq_session_reserve(wbcq_session* session, size_t batch) {
  return guarded([&] { return session->session->reserve(batch); });
}

wbcq_status wbcq_session_run(wbcq_session* session, size_t batch, const float* const* inputs,
                             size_t input_count, float* const* outputs, size_t output_count) {
  return guarded([&] {
    return session->session->run(batch, {inputs, input_count}, {outputs, output_count});
  });
}
