// wbcq-run FILE: runs a model on arrays out of .npy files.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "ops/load_options.h"
#include "tools/arguments.h"
#include "tools/npy.h"
#include "wbcq/wbcq.hpp"

namespace wbcq::tools {
namespace {

constexpr const char kUsage[] =
    "usage: wbcq-run FILE --input X.npy [--input ...] [--output Y.npy ...]\n"
    "\n"
    "Runs a wbcq model file on float32 arrays (N, C, H, W or N, C) and prints or saves its "
    "outputs.\n"
    "\n"
    "  --input PATH   an input, in the model's order; once for each of them\n"
    "  --output PATH  where an output goes, in the model's order; others are printed in short\n"
    "  --threads N    default: as many as the machine has cores\n"
    "  --isa NAME     scalar, avx2, avx512vnni, neon, neondot, neoni8mm; default: the best\n"
    "  --memory WHAT  speed or small; default: speed\n"
    "  --repeat R     run R times and print the median time\n"
    "  --help         print this text\n";

constexpr size_t kPrintedRows = 8;

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t dim : shape)
    text += (text.empty() ? "" : ", ") + (dim < 0 ? "N" : std::to_string(dim));
  return "(" + text + ")";
}

// Checks the arrays against the model's inputs and returns the batch size.
Result<size_t> batch_of(const std::vector<api::Io>& inputs, const std::vector<NpyArray>& arrays) {
  if (inputs.size() != arrays.size()) {
    return Status(StatusCode::kInvalidArgument, "the model has " + std::to_string(inputs.size()) +
                                                    " inputs, " + std::to_string(arrays.size()) +
                                                    " were given (see --help)");
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    std::vector<int64_t> expected = inputs[i].shape;
    if (!arrays[i].shape.empty() && !arrays[0].shape.empty()) expected[0] = arrays[0].shape[0];
    if (arrays[i].shape != expected) {
      return Status(StatusCode::kInvalidArgument, "input \"" + inputs[i].name + "\" has shape " +
                                                      shape_text(arrays[i].shape) + ", must be " +
                                                      shape_text(inputs[i].shape));
    }
  }
  return static_cast<size_t>(arrays[0].shape[0]);
}

// The largest value of each picture stands for its class where an output is a matrix.
void print_output(const api::Io& io, const NpyArray& array) {
  std::printf("%s %s", io.name.c_str(), shape_text(array.shape).c_str());
  if (array.values.empty()) {
    std::printf("\n");
    return;
  }
  const auto [least, most] = std::minmax_element(array.values.begin(), array.values.end());
  std::printf("  min %g  max %g\n", static_cast<double>(*least), static_cast<double>(*most));
  const auto pictures = static_cast<size_t>(array.shape[0]);
  for (size_t n = 0; array.shape.size() == 2 && n < std::min(pictures, kPrintedRows); ++n) {
    const auto row = array.values.begin() + static_cast<ptrdiff_t>(n * io.elements);
    const auto best = std::max_element(row, row + static_cast<ptrdiff_t>(io.elements));
    std::printf("  %zu: argmax %td  value %g\n", n, best - row, static_cast<double>(*best));
  }
}

void print_median(std::vector<double>& milliseconds) {
  std::sort(milliseconds.begin(), milliseconds.end());
  std::printf("%zu runs: median %.3f ms, min %.3f ms\n", milliseconds.size(),
              milliseconds[milliseconds.size() / 2], milliseconds[0]);
}

Status run(const Arguments& arguments) {
  const Result<size_t> threads = arguments.number("threads", 0, 1, 1024);
  if (!threads.ok()) return threads.status();
  const Result<size_t> repeat = arguments.number("repeat", 1, 1, 1000000);
  if (!repeat.ok()) return repeat.status();

  const Result<MemoryChoice> memory = memory_choice(arguments.text("memory", "speed"));
  if (!memory.ok()) return memory.status();
  const api::Model model(
      arguments.operands()[0], arguments.text("isa", ""),
      memory.value() == MemoryChoice::kSmall ? WBCQ_MEMORY_SMALL : WBCQ_MEMORY_SPEED,
      static_cast<int>(threads.value()));
  const std::vector<api::Io> output_specs = model.outputs();
  const std::vector<std::string> paths = arguments.all("output");
  if (paths.size() > output_specs.size()) {
    return Status(StatusCode::kInvalidArgument,
                  "the model has " + std::to_string(output_specs.size()) +
                      " outputs, --output was given " + std::to_string(paths.size()) + " times");
  }
  std::vector<NpyArray> inputs;
  std::vector<const float*> from;
  for (const std::string& path : arguments.all("input")) {
    Result<NpyArray> array = read_npy(path);
    if (!array.ok()) return array.status();
    inputs.push_back(std::move(array).value());
    from.push_back(inputs.back().values.data());
  }
  const Result<size_t> batch = batch_of(model.inputs(), inputs);
  if (!batch.ok()) return batch.status();

  std::vector<NpyArray> outputs;
  for (const api::Io& spec : output_specs) {
    NpyArray array = {spec.shape, std::vector<float>(batch.value() * spec.elements)};
    array.shape[0] = static_cast<int64_t>(batch.value());
    outputs.push_back(std::move(array));
  }
  std::vector<float*> to;
  for (NpyArray& output : outputs) to.push_back(output.values.data());

  api::Session session(model, threads.value());
  std::vector<double> milliseconds;
  for (size_t i = 0; i < repeat.value(); ++i) {
    const auto start = std::chrono::steady_clock::now();
    session.run(batch.value(), from, to);
    const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
    milliseconds.push_back(time.count());
  }
  if (arguments.has("repeat")) print_median(milliseconds);
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (i >= paths.size()) {
      print_output(output_specs[i], outputs[i]);
    } else {
      WBCQ_RETURN_IF_ERROR(write_npy(paths[i], outputs[i]));
    }
  }
  return Status();
}

int main_of(int argc, char** argv) {
  const Result<Arguments> arguments = Arguments::parse(
      argc, argv, {"input", "output", "threads", "isa", "memory", "repeat"}, {"help"});
  if (!arguments.ok()) return report("wbcq-run", arguments.status());
  if (arguments.value().has("help")) {
    std::fputs(kUsage, stdout);
    return 0;
  }
  if (arguments.value().operands().size() != 1) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  try {
    const Status status = run(arguments.value());
    return status.ok() ? 0 : report("wbcq-run", status);
  } catch (const std::exception& error) {  // of the C++ wrapper, or out of memory
    std::fprintf(stderr, "wbcq-run: %s\n", error.what());
    return 1;
  }
}

}  // namespace
}  // namespace wbcq::tools

int main(int argc, char** argv) { return wbcq::tools::main_of(argc, argv); }
