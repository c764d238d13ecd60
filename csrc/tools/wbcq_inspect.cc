// wbcq-inspect FILE: what a model file holds, without running it.
#include <algorithm>
#include <array>
#include <bit>
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "format/message.h"
#include "format/names.h"
#include "format/reader.h"

namespace wbcq::format {
namespace {

constexpr std::string_view kUsage =
    "usage: wbcq-inspect [--metadata] FILE\n"
    "\n"
    "Checks a wbcq model file and prints its header, inputs, outputs, tensors and operators.\n"
    "\n"
    "  --metadata  print the metadata (JSON) alone, as it is in the file\n"
    "  --help      print this text\n";

// Rows of text whose columns are as wide as their widest cell.
class Table {
 public:
  explicit Table(std::vector<std::string> heading) { add(std::move(heading)); }
  void add(std::vector<std::string> row) {
    widths_.resize(std::max(widths_.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths_[i] = std::max(widths_[i], columns(row[i]));
    rows_.push_back(std::move(row));
  }
  void print() const {
    for (const std::vector<std::string>& row : rows_) {
      std::string line(1, ' ');
      for (size_t i = 0; i < row.size(); ++i) {
        line.append(1, ' ').append(row[i]);
        if (i + 1 < row.size()) line.append(widths_[i] - columns(row[i]) + 1, ' ');
      }
      line.erase(line.find_last_not_of(' ') + 1);
      std::printf("%s\n", line.c_str());
    }
    std::printf("\n");
  }

 private:
  // Characters, not bytes, of UTF-8.
  static size_t columns(std::string_view text) {
    return static_cast<size_t>(std::count_if(
        text.begin(), text.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }));
  }
  std::vector<std::vector<std::string>> rows_;
  std::vector<size_t> widths_;
};

// A name without quotation marks, safe to print.
std::string plain(std::string_view name) {
  const std::string text = quoted_name(name);
  return text.substr(1, text.size() - 2);
}

std::string shape(const int32_t* dims, uint32_t rank) {
  std::string text(1, 'N');
  for (uint32_t i = 1; i < rank; ++i) text += cat("x", dims[i]);
  return text;
}

std::string bytes_text(uint64_t bytes) {
  std::string digits = std::to_string(bytes);
  for (size_t i = digits.size(); i > 3; i -= 3) digits.insert(i - 3, 1, ',');
  return digits;
}

class Inspector {
 public:
  explicit Inspector(const ModelFile& file) : file_(file) {}

  void print() const {
    print_header();
    print_io();
    print_tensors();
    print_ops();
  }

 private:
  std::string tensor_name(uint32_t tensor) const {
    return plain(file_.string(file_.tensors()[tensor].name));
  }

  void print_header() const {
    const Header& header = file_.header();
    std::printf("Format version %d.%d, %s bytes%s\n\n", header.major, header.minor,
                bytes_text(header.file_bytes).c_str(),
                (header.required_features & kSparseBlobs) != 0 ? ", sparse weights" : "");
    Table table({"section", "records", "bytes"});
    const auto* sections =
        reinterpret_cast<const SectionRecord*>(file_.bytes().data() + sizeof(Header));
    for (uint32_t i = 0; i < kSectionCount; ++i) {
      const bool is_array = sections[i].count != sections[i].bytes;
      table.add({std::string(section_name(sections[i].kind)),
                 is_array ? std::to_string(sections[i].count) : "", bytes_text(sections[i].bytes)});
    }
    table.print();
  }

  void print_io() const {
    Table table({"caller's", "tensor", "shape"});
    for (const IoRecord& io : file_.io()) {
      table.add({io.is_output != 0 ? "output" : "input", tensor_name(io.tensor),
                 shape(io.dims, io.rank)});
    }
    table.print();
  }

  void print_tensors() const {
    Table table({"#", "tensor", "dtype", "N,H,W,C", "scale", "zero point", "bytes a picture"});
    for (uint32_t i = 0; i < file_.tensors().size(); ++i) {
      const TensorRecord& tensor = file_.tensors()[i];
      const bool is_u8 = tensor.dtype == static_cast<uint8_t>(DType::kU8);
      const uint64_t elements = uint64_t{1} * static_cast<uint32_t>(tensor.dims[1]) *
                                static_cast<uint32_t>(tensor.dims[2]) *
                                static_cast<uint32_t>(tensor.dims[3]);
      table.add({std::to_string(i), tensor_name(i), std::string(dtype_name(tensor.dtype)),
                 shape(tensor.dims, 4), is_u8 ? cat(tensor.scale) : "",
                 is_u8 ? std::to_string(tensor.zero_point) : "",
                 bytes_text(elements * dtype_size(tensor.dtype))});
    }
    table.print();
  }

  void print_ops() const {
    Table table({"#", "operator", "kind", "reads", "writes", "MACs a picture", "zeros", "bytes",
                 "attributes"});
    uint64_t total_macs = 0;
    uint64_t total_bytes = 0;
    Zeros total_zeros;
    for (size_t i = 0; i < file_.ops().size(); ++i) {
      const OpRecord& op = file_.ops()[i];
      uint64_t constant_bytes = 0;
      for (const uint32_t blob : file_.op_blobs(op)) constant_bytes += file_.blobs()[blob].bytes;
      const uint64_t op_macs = macs(op);
      total_macs += op_macs;
      total_bytes += constant_bytes;
      const Zeros op_zeros = zeros(op);
      total_zeros.zeros += op_zeros.zeros;
      total_zeros.weights += op_zeros.weights;
      table.add({std::to_string(i), plain(file_.string(op.name)),
                 std::string(op_kind_name(op.kind)), names(file_.op_inputs(op)),
                 names(file_.op_outputs(op)), op_macs != 0 ? bytes_text(op_macs) : "",
                 op_zeros.text(), constant_bytes != 0 ? bytes_text(constant_bytes) : "",
                 attributes(op)});
    }
    table.add({"", "total", "", "", "", bytes_text(total_macs), total_zeros.text(),
               bytes_text(total_bytes)});
    table.print();
  }

  std::string names(std::span<const uint32_t> tensors) const {
    std::string text;
    for (const uint32_t tensor : tensors) text += cat(text.empty() ? "" : " ", tensor_name(tensor));
    return text;
  }

  static bool is_conv2d(const OpRecord& op) {
    return static_cast<OpKind>(op.kind) == OpKind::kConv2d;
  }

  // Of a convolution.
  uint64_t weights(const OpRecord& op) const {
    const uint32_t* dims = file_.blobs()[file_.op_blobs(op)[0]].dims;
    return uint64_t{1} * dims[0] * dims[1] * dims[2] * dims[3];
  }

  // How many weights are zero.
  struct Zeros {
    uint64_t zeros = 0;
    uint64_t weights = 0;

    std::string text() const {
      if (weights == 0) return "";
      char text[16];
      const double share = static_cast<double>(zeros) / static_cast<double>(weights);
      std::snprintf(text, sizeof(text), "%.1f %%", 100 * share);
      return text;
    }
  };

  Zeros zeros(const OpRecord& op) const {
    if (!is_conv2d(op)) return {};
    const uint32_t blob = file_.op_blobs(op)[0];
    const auto count = [](auto values) {
      return static_cast<uint64_t>(
          std::count_if(values.begin(), values.end(), [](auto value) { return value != 0; }));
    };
    const bool is_f32 = file_.blobs()[blob].dtype == static_cast<uint8_t>(DType::kF32);
    const uint64_t others =
        is_f32 ? count(file_.blob_values<float>(blob)) : count(file_.blob_values<int8_t>(blob));
    return {weights(op) - others, weights(op)};
  }

  // Multiplications of a convolution.
  uint64_t macs(const OpRecord& op) const {
    if (!is_conv2d(op)) return 0;
    const TensorRecord& y = file_.tensors()[file_.op_outputs(op)[0]];
    return weights(op) * static_cast<uint32_t>(y.dims[1]) * static_cast<uint32_t>(y.dims[2]);
  }

  // Windows in the usual short form, and what differs from the plain case.
  std::string attributes(const OpRecord& op) const {
    const int32_t* a = op.attrs;
    std::string text;
    const auto add = [&text](const auto&... parts) {
      text += cat(text.empty() ? "" : " ", parts...);
    };
    const OpKind kind = static_cast<OpKind>(op.kind);
    const bool is_pool = kind == OpKind::kMaxPool2d || kind == OpKind::kAvgPool2d;
    if (kind == OpKind::kConv2d || is_pool) {
      add(a[conv2d::kKernelH], "x", a[conv2d::kKernelW]);
      if (a[conv2d::kStrideH] != 1 || a[conv2d::kStrideW] != 1) {
        add("stride=", a[conv2d::kStrideH], "x", a[conv2d::kStrideW]);
      }
      const int32_t* pads = a + conv2d::kPadTop;
      if (std::any_of(pads, pads + 4, [](int32_t pad) { return pad != 0; })) {
        add("pads=", pads[0], ",", pads[1], ",", pads[2], ",", pads[3]);
      }
      if (a[conv2d::kDilationH] != 1 || a[conv2d::kDilationW] != 1) {
        add("dilation=", a[conv2d::kDilationH], "x", a[conv2d::kDilationW]);
      }
    }
    const uint8_t dtype = file_.tensors()[file_.op_inputs(op)[0]].dtype;
    const std::span<const AttrRule> rules = attr_rules(op.kind, dtype);
    for (size_t i = 0; i < rules.size(); ++i) {
      const std::string_view name = rules[i].name;
      const float value = std::bit_cast<float>(a[i]);
      const bool no_clamp = rules[i].is_float && std::isinf(value);
      const bool is_default = a[i] == (name == "groups" ? 1 : name == "hi" ? 255 : 0) || no_clamp;
      const bool is_window = (kind == OpKind::kConv2d || is_pool) && i <= conv2d::kDilationW;
      if (is_window || is_default) continue;
      if (rules[i].is_float) {
        add(name, "=", value);
      } else {
        add(name, "=", a[i]);
      }
    }
    const BlobRecord* weight = is_conv2d(op) ? &file_.blobs()[file_.op_blobs(op)[0]] : nullptr;
    if (weight != nullptr && weight->block != 0) add("stored in blocks of ", int{weight->block});
    return text;
  }

  const ModelFile& file_;
};

int run(int argc, char** argv) {
  bool only_metadata = false;
  std::vector<std::string> paths;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--help" || argument == "-h") {
      std::printf("%s", std::string(kUsage).c_str());
      return 0;
    }
    if (argument == "--metadata") {
      only_metadata = true;
    } else if (argument.starts_with("-")) {
      std::fprintf(stderr, "wbcq-inspect: unknown option %s\n%s", argv[i],
                   std::string(kUsage).c_str());
      return 2;
    } else {
      paths.emplace_back(argument);
    }
  }
  if (paths.size() != 1) {
    std::fprintf(stderr, "%s", std::string(kUsage).c_str());
    return 2;
  }
  const Result<ModelFile> file = ModelFile::open(paths[0]);
  if (!file.ok()) {
    std::fprintf(stderr, "wbcq-inspect: %s\n", file.status().message().c_str());
    return 1;
  }
  if (only_metadata) {
    const std::string_view metadata = file.value().metadata();
    std::fwrite(metadata.data(), 1, metadata.size(), stdout);
    std::printf("\n");
    return 0;
  }
  Inspector(file.value()).print();
  std::printf("Metadata: %s bytes (--metadata prints them)\n",
              bytes_text(file.value().metadata().size()).c_str());
  return 0;
}

}  // namespace
}  // namespace wbcq::format

int main(int argc, char** argv) { return wbcq::format::run(argc, argv); }
