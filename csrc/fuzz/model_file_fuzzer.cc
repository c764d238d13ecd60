// The reader survives every file, and everything that it accepts can be used.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "format/reader.h"
#include "fuzz/repair.h"

namespace {

using wbcq::format::ModelFile;

void require(bool condition) {
  if (!condition) std::abort();
}

void use(const ModelFile& file) {
  uint64_t sum = file.metadata().size();
  for (uint32_t i = 0; i < file.blobs().size(); ++i) {
    require(reinterpret_cast<uintptr_t>(file.blob_bytes(i).data()) % 64 == 0);
    wbcq::AlignedBuffer expanded;
    const auto elements = file.blob_elements(i, expanded);
    require(elements.ok());
    for (const std::byte byte : elements.value()) sum += static_cast<uint8_t>(byte);
  }
  for (const auto& tensor : file.tensors()) require(!file.string(tensor.name).empty());
  for (const auto& op : file.ops()) {
    require(!file.string(op.name).empty());
    for (const uint32_t tensor : file.op_inputs(op)) require(tensor < file.tensors().size());
    for (const uint32_t tensor : file.op_outputs(op)) require(tensor < file.tensors().size());
    for (const uint32_t blob : file.op_blobs(op)) require(blob < file.blobs().size());
  }
  for (const auto& io : file.io()) require(io.tensor < file.tensors().size());
  // Keeps the loops above.
  require(sum != ~uint64_t{0});
}

void read(std::span<const std::byte> bytes) {
  const wbcq::Result<ModelFile> file = ModelFile::from_bytes(bytes);
  if (file.ok()) {
    use(file.value());
  } else {
    require(!file.status().message().empty());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> bytes = std::as_bytes(std::span(data, size));
  read(bytes);
  read(wbcq::fuzz::repaired(bytes));
  return 0;
}
