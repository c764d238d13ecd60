// wbcq.h over the engine: Status becomes a code and a message of the calling thread.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <utility>
#include <vector>

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

using wbcq::KernelChoice;
using wbcq::LoadOptions;
using wbcq::MemoryChoice;
using wbcq::Result;
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

// The options of a caller that may be older or newer than this library.
Result<LoadOptions> read_options(const wbcq_load_options* given,
                                 std::vector<KernelChoice>& choices) {
  wbcq_load_options options = WBCQ_LOAD_OPTIONS_INIT;
  if (given != nullptr) {
    const size_t size = given->size;
    constexpr size_t kFirstSize = offsetof(wbcq_load_options, choices);
    if (size < kFirstSize) {
      return Status(StatusCode::kInvalidArgument, "wbcq_load_options of " + std::to_string(size) +
                                                      " bytes, must be at least " +
                                                      std::to_string(kFirstSize));
    }
    const char* bytes = reinterpret_cast<const char*>(given);
    if (size > sizeof(options) &&
        std::any_of(bytes + sizeof(options), bytes + size, [](char byte) { return byte != 0; })) {
      return Status(StatusCode::kUnsupported,
                    "wbcq_load_options has members set that this version does not know");
    }
    std::memcpy(&options, given, std::min(size, sizeof(options)));
  }
  if (options.memory != WBCQ_MEMORY_SPEED && options.memory != WBCQ_MEMORY_SMALL) {
    return Status(StatusCode::kInvalidArgument,
                  "wbcq_load_options.memory is " + std::to_string(options.memory));
  }
  if (options.threads < 0) {
    return Status(StatusCode::kInvalidArgument,
                  "wbcq_load_options.threads is " + std::to_string(options.threads));
  }
  for (size_t i = 0; i < options.choice_count; ++i) {
    choices.push_back({view_of(options.choices[i].op), view_of(options.choices[i].kernel)});
  }
  const bool small = options.memory == WBCQ_MEMORY_SMALL;
  return LoadOptions{view_of(options.isa), small ? MemoryChoice::kSmall : MemoryChoice::kSpeed,
                     choices, static_cast<size_t>(options.threads)};
}

template <typename F>
wbcq_status load(const wbcq_load_options* given, wbcq_model** out, F read) {
  return guarded([&]() -> Status {
    *out = nullptr;
    std::vector<KernelChoice> choices;
    const Result<LoadOptions> options = read_options(given, choices);
    if (!options.ok()) return options.status();
    auto model = read(options.value());
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
  wbcq_load_options options = WBCQ_LOAD_OPTIONS_INIT;
  options.isa = isa;
  return wbcq_model_open_with(path, &options, model);
}

wbcq_status wbcq_model_from_memory(const void* data, size_t bytes, const char* isa,
                                   wbcq_model** model) {
  wbcq_load_options options = WBCQ_LOAD_OPTIONS_INIT;
  options.isa = isa;
  return wbcq_model_from_memory_with(data, bytes, &options, model);
}

wbcq_status wbcq_model_open_with(const char* path, const wbcq_load_options* options,
                                 wbcq_model** model) {
  return load(options, model,
              [&](const LoadOptions& chosen) { return wbcq::Model::open(path, chosen); });
}

wbcq_status wbcq_model_from_memory_with(const void* data, size_t bytes,
                                        const wbcq_load_options* options, wbcq_model** model) {
  return load(options, model, [&](const LoadOptions& chosen) {
    return wbcq::Model::from_bytes({static_cast<const std::byte*>(data), bytes}, chosen);
  });
}

void wbcq_model_free(wbcq_model* model) { delete model; }

const char* wbcq_model_isa(const wbcq_model* model) { return model->isa.c_str(); }

wbcq_memory_choice wbcq_model_memory(const wbcq_model* model) {
  return model->model->memory() == wbcq::MemoryChoice::kSmall ? WBCQ_MEMORY_SMALL
                                                              : WBCQ_MEMORY_SPEED;
}

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
