/* wbcq: runs quantized models. The C interface; wbcq.hpp wraps it for C++.
 *
 *   wbcq_model* model = NULL;
 *   wbcq_session* session = NULL;
 *   if (wbcq_model_open("net.wbcq", NULL, &model) != WBCQ_OK ||
 *       wbcq_session_create(model, 1, &session) != WBCQ_OK ||
 *       wbcq_session_run(session, 1, inputs, 1, outputs, 1) != WBCQ_OK) {
 *     fprintf(stderr, "%s\n", wbcq_last_error());
 *   }
 *   wbcq_session_free(session);
 *   wbcq_model_free(model);
 *
 * A model is immutable: any number of sessions and threads may use it at once. A session serves one
 * caller at a time. No function throws or aborts on its arguments' values; pointers must be valid.
 */
#ifndef WBCQ_WBCQ_H_
#define WBCQ_WBCQ_H_

#include <stddef.h>
#include <stdint.h>

#if defined(WBCQ_SHARED) && defined(__GNUC__)
#define WBCQ_API __attribute__((visibility("default")))
#else
#define WBCQ_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct wbcq_model wbcq_model;
typedef struct wbcq_session wbcq_session;

typedef enum wbcq_status {
  WBCQ_OK = 0,
  WBCQ_INVALID_ARGUMENT = 1, /* a value that was passed cannot be used */
  WBCQ_INVALID_FILE = 2,     /* damaged, of another version, or not a model file */
  WBCQ_UNSUPPORTED = 3,      /* valid, but this build or CPU cannot run it */
  WBCQ_IO = 4,               /* the operating system refused a file operation */
  WBCQ_OUT_OF_MEMORY = 5
} wbcq_status;

/* An input or output: float32, C-contiguous, in the order N, C, H, W or N, C. */
typedef struct wbcq_io {
  const char* name;
  const int64_t* shape; /* shape[0] is -1, the batch */
  size_t rank;
  size_t elements; /* floats of one picture */
} wbcq_io;

/* Bytes. */
typedef struct wbcq_memory {
  size_t arena;          /* activations */
  size_t scratch;        /* of all threads */
  size_t tables;         /* operand addresses */
  size_t packed_weights; /* shared by all sessions of a model */
} wbcq_memory;

typedef enum wbcq_memory_choice {
  WBCQ_MEMORY_SPEED = 0, /* whatever is fastest */
  WBCQ_MEMORY_SMALL = 1  /* less memory for weights and activations, slower */
} wbcq_memory_choice;

/* How one operator computes: "dense", or "sparse" where zero blocks of weights are left out. */
typedef struct wbcq_choice {
  const char* op; /* its name */
  const char* kernel;
} wbcq_choice;

/* How to load a model; begin with WBCQ_LOAD_OPTIONS_INIT. Later versions add members at the end:
 * a library reads those that `size` covers, and refuses ones that it does not know unless they are
 * zero. */
typedef struct wbcq_load_options {
  size_t size; /* of this struct, as the caller was compiled */
  /* NULL or "" for the best that the CPU has, else "scalar", "avx2", "avx512vnni", "neon",
   * "neondot" or "neoni8mm". The results have the same bits whichever is used. */
  const char* isa;
  int32_t memory; /* wbcq_memory_choice; changes no bits either */
  /* Of the sessions to come, 0 for as many as the machine has cores: a file that `wbcq tune` timed
   * on this CPU says what is fastest with so many. */
  int32_t threads;
  /* For operators that are not named the file's choices count, if it was tuned for this CPU, else
   * the engine decides. No choice changes bits. */
  const wbcq_choice* choices;
  size_t choice_count;
} wbcq_load_options;

#define WBCQ_LOAD_OPTIONS_INIT \
  { sizeof(wbcq_load_options), NULL, WBCQ_MEMORY_SPEED, 0, NULL, 0 }

/* "0.1.0". */
WBCQ_API const char* wbcq_version(void);

/* What went wrong in this thread's last call that did not return WBCQ_OK; "" if none. Valid until
 * this thread's next call of a function that returns wbcq_status. */
WBCQ_API const char* wbcq_last_error(void);

/* isa: as in wbcq_load_options. On failure *model is NULL. The bytes of from_memory are read
 * during the call only and must not change meanwhile. */
WBCQ_API wbcq_status wbcq_model_open(const char* path, const char* isa, wbcq_model** model);
WBCQ_API wbcq_status wbcq_model_from_memory(const void* data, size_t bytes, const char* isa,
                                            wbcq_model** model);
/* options: NULL for WBCQ_LOAD_OPTIONS_INIT. */
WBCQ_API wbcq_status wbcq_model_open_with(const char* path, const wbcq_load_options* options,
                                          wbcq_model** model);
WBCQ_API wbcq_status wbcq_model_from_memory_with(const void* data, size_t bytes,
                                                 const wbcq_load_options* options,
                                                 wbcq_model** model);
/* NULL is allowed. Sessions keep what they need: a model may be freed before its sessions. */
WBCQ_API void wbcq_model_free(wbcq_model* model);

/* Strings and shapes live as long as the model. */
WBCQ_API const char* wbcq_model_isa(const wbcq_model* model);
WBCQ_API wbcq_memory_choice wbcq_model_memory(const wbcq_model* model);
WBCQ_API const char* wbcq_model_metadata(const wbcq_model* model); /* JSON */
WBCQ_API size_t wbcq_model_input_count(const wbcq_model* model);
WBCQ_API size_t wbcq_model_output_count(const wbcq_model* model);
WBCQ_API wbcq_status wbcq_model_input(const wbcq_model* model, size_t index, wbcq_io* io);
WBCQ_API wbcq_status wbcq_model_output(const wbcq_model* model, size_t index, wbcq_io* io);

/* threads: 0 for as many as the machine has cores. On failure *session is NULL. */
WBCQ_API wbcq_status wbcq_session_create(const wbcq_model* model, size_t threads,
                                         wbcq_session** session);
WBCQ_API void wbcq_session_free(wbcq_session* session); /* NULL is allowed */
WBCQ_API size_t wbcq_session_threads(const wbcq_session* session);

/* What running `batch` pictures takes, before it is allocated. */
WBCQ_API wbcq_status wbcq_session_memory(const wbcq_session* session, size_t batch,
                                         wbcq_memory* memory);
/* Allocates it now rather than in the first run. */
WBCQ_API wbcq_status wbcq_session_reserve(wbcq_session* session, size_t batch);

/* inputs[i] and outputs[i] hold `batch` pictures of the model's i-th input and output, aligned for
 * float. Outputs overlap nothing else. A batch of 0 reads and writes nothing. The second run of a
 * batch size allocates nothing. */
WBCQ_API wbcq_status wbcq_session_run(wbcq_session* session, size_t batch,
                                      const float* const* inputs, size_t input_count,
                                      float* const* outputs, size_t output_count);

#ifdef __cplusplus
}
#endif

#endif /* WBCQ_WBCQ_H_ */
