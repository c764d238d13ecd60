// Builds model files in memory for tests, valid ones and, by editing its records, broken ones.
#ifndef WBCQ_TESTS_FORMAT_FILE_BUILDER_H_
#define WBCQ_TESTS_FORMAT_FILE_BUILDER_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/crc32.h"
#include "format/format.h"

namespace wbcq::format::testing {

using Bytes = std::vector<std::byte>;

// Overwrites both checksums with those of the present contents.
inline void fix_checksums(Bytes& file) {
  if (file.size() < sizeof(Header)) return;
  const std::span<const std::byte> bytes(file);
  const uint32_t body = crc32(bytes.subspan(sizeof(Header)));
  std::memcpy(file.data() + offsetof(Header, body_crc32), &body, sizeof(body));
  const uint32_t header = crc32(bytes.first(offsetof(Header, header_crc32)));
  std::memcpy(file.data() + offsetof(Header, header_crc32), &header, sizeof(header));
}

class FileBuilder {
 public:
  // Public, so that a test can break them before bytes() is called.
  std::string strings;
  std::vector<TensorRecord> tensors;
  std::vector<BlobRecord> blobs;
  std::vector<uint32_t> operands;
  std::vector<OpRecord> ops;
  std::vector<IoRecord> io;
  std::string metadata = "{}";
  Bytes data;
  uint64_t features = 0;

  uint32_t string(std::string_view text) {
    const uint32_t offset = static_cast<uint32_t>(strings.size());
    strings.append(text);
    strings.push_back('\0');
    return offset;
  }

  uint32_t f32_tensor(std::string_view name, int32_t height, int32_t width, int32_t channels) {
    TensorRecord record = {};
    record.name = string(name);
    record.dtype = static_cast<uint8_t>(DType::kF32);
    record.dims[0] = kBatch;
    record.dims[1] = height;
    record.dims[2] = width;
    record.dims[3] = channels;
    tensors.push_back(record);
    return static_cast<uint32_t>(tensors.size() - 1);
  }

  uint32_t u8_tensor(std::string_view name, int32_t height, int32_t width, int32_t channels,
                     float scale, int32_t zero_point) {
    const uint32_t index = f32_tensor(name, height, width, channels);
    tensors[index].dtype = static_cast<uint8_t>(DType::kU8);
    tensors[index].scale = scale;
    tensors[index].zero_point = zero_point;
    return index;
  }

  template <typename T>
  uint32_t blob(std::string_view name, DType dtype, std::initializer_list<uint32_t> dims,
                const std::vector<T>& values) {
    BlobRecord record = {};
    record.name = string(name);
    record.dtype = static_cast<uint8_t>(dtype);
    record.rank = static_cast<uint8_t>(dims.size());
    std::fill(std::begin(record.dims), std::end(record.dims), 1u);
    std::copy(dims.begin(), dims.end(), record.dims);
    pad(data);
    record.offset = data.size();
    record.bytes = values.size() * sizeof(T);
    append(data, std::as_bytes(std::span(values)));
    blobs.push_back(record);
    return static_cast<uint32_t>(blobs.size() - 1);
  }

  // A blob that is stored in blocks of `block` elements of the last dimension.
  template <typename T>
  uint32_t sparse_blob(std::string_view name, DType dtype, std::initializer_list<uint32_t> dims,
                       const std::vector<T>& values, uint8_t block) {
    const size_t row = *(dims.end() - 1);
    std::vector<uint8_t> mask;
    std::vector<T> stored;
    size_t count = 0;
    for (size_t first = 0; first < values.size(); ++count) {
      const size_t length = std::min<size_t>(block, row - first % row);
      const auto* begin = values.data() + first;
      if (count % 64 == 0) mask.resize(mask.size() + 8);
      if (std::any_of(begin, begin + length, [](T value) { return value != T{0}; })) {
        mask[count / 8] = static_cast<uint8_t>(mask[count / 8] | 1u << count % 8);
        stored.insert(stored.end(), begin, begin + length);
      }
      first += length;
    }
    const uint32_t index = blob(name, dtype, dims, mask);
    append(data, std::as_bytes(std::span(stored)));
    blobs[index].bytes += stored.size() * sizeof(T);
    blobs[index].block = block;
    features |= kSparseBlobs;
    return index;
  }

  // Returns the operator's index.
  size_t op(OpKind kind, std::string_view name, std::initializer_list<uint32_t> inputs,
            uint32_t output, std::initializer_list<uint32_t> op_blobs = {},
            std::initializer_list<int32_t> attrs = {}) {
    OpRecord record = {};
    record.kind = static_cast<uint32_t>(kind);
    record.name = string(name);
    record.first_operand = static_cast<uint32_t>(operands.size());
    record.inputs = static_cast<uint16_t>(inputs.size());
    record.outputs = 1;
    record.blobs = static_cast<uint32_t>(op_blobs.size());
    std::copy(attrs.begin(), attrs.end(), record.attrs);
    operands.insert(operands.end(), inputs);
    operands.push_back(output);
    operands.insert(operands.end(), op_blobs);
    ops.push_back(record);
    return ops.size() - 1;
  }

  void add_io(uint32_t tensor, bool is_output, std::initializer_list<int32_t> dims) {
    IoRecord record = {};
    record.tensor = tensor;
    record.is_output = is_output ? 1 : 0;
    record.rank = static_cast<uint32_t>(dims.size());
    std::fill(std::begin(record.dims), std::end(record.dims), 1);
    std::copy(dims.begin(), dims.end(), record.dims);
    io.push_back(record);
  }

  Bytes bytes() const {
    Bytes file(sizeof(Header) + kSectionCount * sizeof(SectionRecord));
    std::vector<SectionRecord> table;
    add_section(file, table, SectionKind::kStrings, std::span(strings), 1);
    add_section(file, table, SectionKind::kTensors, std::span(tensors), sizeof(TensorRecord));
    add_section(file, table, SectionKind::kBlobs, std::span(blobs), sizeof(BlobRecord));
    add_section(file, table, SectionKind::kOperands, std::span(operands), sizeof(uint32_t));
    add_section(file, table, SectionKind::kOps, std::span(ops), sizeof(OpRecord));
    add_section(file, table, SectionKind::kIo, std::span(io), sizeof(IoRecord));
    add_section(file, table, SectionKind::kMetadata, std::span(metadata), 1);
    add_section(file, table, SectionKind::kData, std::span(data), 1);
    Header header = {};
    std::memcpy(header.magic, kMagic, sizeof(kMagic));
    header.major = kMajor;
    header.minor = kMinor;
    header.header_bytes = sizeof(Header);
    header.file_bytes = file.size();
    header.required_features = features;
    header.section_count = kSectionCount;
    std::memcpy(file.data(), &header, sizeof(header));
    std::memcpy(file.data() + sizeof(header), table.data(), table.size() * sizeof(SectionRecord));
    fix_checksums(file);
    return file;
  }

 private:
  static void append(Bytes& out, std::span<const std::byte> bytes) {
    out.insert(out.end(), bytes.begin(), bytes.end());
  }
  static void pad(Bytes& out) {
    out.resize((out.size() + kAlignment - 1) / kAlignment * kAlignment);
  }

  template <typename T>
  static void add_section(Bytes& file, std::vector<SectionRecord>& table, SectionKind kind,
                          std::span<const T> values, size_t record_bytes) {
    pad(file);
    SectionRecord record = {};
    record.kind = static_cast<uint32_t>(kind);
    record.offset = file.size();
    record.bytes = values.size_bytes();
    record.count = static_cast<uint32_t>(record.bytes / record_bytes);
    table.push_back(record);
    append(file, std::as_bytes(values));
  }
};

template <typename T>
std::vector<T> iota(size_t count, T first) {
  std::vector<T> values(count);
  std::iota(values.begin(), values.end(), first);
  return values;
}

// A model with every kind of operator:
//
//   input -> q -> a = conv(q, 3x3, 2 groups) -> b = conv(a, 1x1) + a -> c = b + a
//         -> d = max_pool(c) -> e = avg_pool(d) -> head = conv(e): f32, and dequantize(d): f32
struct SmallModel : FileBuilder {
  uint32_t input, q, a, b, c, d, e, logits, features;
  size_t quantize, conv, residual_conv, add, max_pool, avg_pool, head, dequantize;

  SmallModel() {
    input = f32_tensor("input", 8, 6, 4);
    q = u8_tensor("q", 8, 6, 4, 0.02f, 128);
    a = u8_tensor("a", 8, 6, 6, 0.05f, 3);
    b = u8_tensor("b", 8, 6, 6, 0.07f, 0);
    c = u8_tensor("c", 8, 6, 6, 0.1f, 5);
    d = u8_tensor("d", 4, 3, 6, 0.1f, 5);
    e = u8_tensor("e", 1, 1, 6, 0.06f, 9);
    logits = f32_tensor("logits", 1, 1, 5);
    features = f32_tensor("features", 4, 3, 6);

    quantize = op(OpKind::kQuantize, "quantize", {input}, q);
    conv = op(OpKind::kConv2d, "conv", {q}, a,
              {blob<int8_t>("conv.weight", DType::kI8, {6, 3, 3, 2}, iota<int8_t>(108, -54)),
               blob<int32_t>("conv.bias", DType::kI32, {6}, iota<int32_t>(6, -3)),
               blob<float>("conv.scale", DType::kF32, {6}, std::vector<float>(6, 0.01f))},
              {3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 2, 3, 255});
    residual_conv =
        op(OpKind::kConv2d, "residual_conv", {a, a}, b,
           {blob<int8_t>("residual.weight", DType::kI8, {6, 1, 1, 6}, iota<int8_t>(36, -20)),
            blob<int32_t>("residual.bias", DType::kI32, {6}, iota<int32_t>(6, 100)),
            blob<float>("residual.scale", DType::kF32, {1}, std::vector<float>{0.02f})},
           {1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 200, 1});
    add = op(OpKind::kAdd, "add", {b, a}, c, {}, {5, 255});
    max_pool = op(OpKind::kMaxPool2d, "max_pool", {c}, d, {},
                  {3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 0, 0, 0, 255});
    avg_pool = op(OpKind::kAvgPool2d, "avg_pool", {d}, e, {},
                  {4, 3, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 255});
    head = op(OpKind::kConv2d, "head", {e}, logits,
              {blob<int8_t>("head.weight", DType::kI8, {5, 1, 1, 6}, iota<int8_t>(30, 0)),
               blob<float>("head.bias", DType::kF32, {5}, {0.f, 1.f, 2.f, 3.f, 4.f}),
               blob<float>("head.scale", DType::kF32, {5}, std::vector<float>(5, 0.03f))},
              {1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 255});
    dequantize = op(OpKind::kDequantize, "dequantize", {d}, features);
    add_io(input, false, {kBatch, 4, 8, 6});
    add_io(logits, true, {kBatch, 5});
    add_io(features, true, {kBatch, 6, 4, 3});
  }

  template <typename T>
  T* blob_data(size_t op_index, size_t role) {
    const OpRecord& record = ops[op_index];
    const uint32_t index = operands[record.first_operand + record.inputs + record.outputs + role];
    return reinterpret_cast<T*>(data.data() + blobs[index].offset);
  }
};

}  // namespace wbcq::format::testing

#endif  // WBCQ_TESTS_FORMAT_FILE_BUILDER_H_
