// Every file that the reader accepts runs, and every ISA gives the same bits.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "cpu/isa.h"
#include "engine/model.h"
#include "engine/session.h"
#include "format/reader.h"
#include "fuzz/repair.h"

namespace {

using wbcq::format::ModelFile;

constexpr size_t kBatch = 2;
constexpr double kMaxWork = 2e6;  // products and elements; what exceeds it is only loaded by chance

// Products of convolutions, taps of pools, and elements of all tensors.
double work(const ModelFile& file) {
  double total = 0;
  const auto elements = [](const wbcq::format::TensorRecord& tensor) {
    return double{1} * tensor.dims[1] * tensor.dims[2] * tensor.dims[3];
  };
  for (const auto& tensor : file.tensors()) total += elements(tensor);
  for (const auto& op : file.ops()) {
    const double taps = std::max(1.0, double{1} * op.attrs[wbcq::format::conv2d::kKernelH] *
                                          op.attrs[wbcq::format::conv2d::kKernelW]);
    const double inputs = file.tensors()[file.op_inputs(op)[0]].dims[3];
    const bool is_conv = op.kind == static_cast<uint32_t>(wbcq::format::OpKind::kConv2d);
    total += elements(file.tensors()[file.op_outputs(op)[0]]) * taps * (is_conv ? inputs : 1);
  }
  return total;
}

void fail(const wbcq::Status& status) {
  std::fprintf(stderr, "%s\n", status.message().c_str());
  std::abort();
}

// Values that depend on the position and cover the quantized range.
float input_value(size_t i) {
  return static_cast<float>(static_cast<int>(i * 2654435761u >> 20) - 2048) * 0.01f;
}

std::vector<std::vector<float>> run(std::span<const std::byte> bytes, wbcq::Isa isa) {
  auto model = wbcq::Model::from_bytes(bytes, {wbcq::isa_name(isa)});
  if (!model.ok()) fail(model.status());
  auto session = wbcq::Session::create(model.value(), 1);
  if (!session.ok()) fail(session.status());
  std::vector<std::vector<float>> inputs;
  for (const wbcq::IoSpec& spec : model.value()->inputs()) {
    std::vector<float>& values = inputs.emplace_back(kBatch * spec.elements);
    for (size_t i = 0; i < values.size(); ++i) values[i] = input_value(i);
  }
  std::vector<std::vector<float>> outputs;
  for (const wbcq::IoSpec& spec : model.value()->outputs()) {
    outputs.emplace_back(kBatch * spec.elements, std::nanf(""));
  }
  std::vector<const float*> in;
  for (const auto& values : inputs) in.push_back(values.data());
  std::vector<float*> out;
  for (auto& values : outputs) out.push_back(values.data());
  const wbcq::Status status = session.value()->run(kBatch, in, out);
  if (!status.ok()) fail(status);
  return outputs;
}

// Any NaN equals any other.
bool same_bits(float a, float b) {
  return std::memcmp(&a, &b, sizeof(a)) == 0 || (std::isnan(a) && std::isnan(b));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<std::byte> bytes = wbcq::fuzz::repaired(std::as_bytes(std::span(data, size)));
  const wbcq::Result<ModelFile> file = ModelFile::from_bytes(bytes);
  if (!file.ok() || work(file.value()) > kMaxWork) return 0;
  const auto expected = run(bytes, wbcq::Isa::kScalar);
  for (const wbcq::Isa isa : wbcq::supported_isas()) {
    if (isa == wbcq::Isa::kScalar) continue;
    const auto actual = run(bytes, isa);
    for (size_t i = 0; i < expected.size(); ++i) {
      if (!std::equal(expected[i].begin(), expected[i].end(), actual[i].begin(), same_bits)) {
        std::fprintf(stderr, "output %zu differs between scalar and %s\n", i,
                     std::string(wbcq::isa_name(isa)).c_str());
        std::abort();
      }
    }
  }
  return 0;
}
