#include "tools/npy.h"

#include <bit>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string_view>

#include "base/checked.h"

namespace wbcq::tools {
namespace {

static_assert(std::endian::native == std::endian::little, "values are stored as they are");

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kMaxHeader = 1 << 20;

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, Close>;

Status io_error(const std::string& path, const char* action) {
  return Status(StatusCode::kIo, path + ": cannot " + action + ": " + std::strerror(errno));
}

Status invalid(const std::string& path, const std::string& message) {
  return Status(StatusCode::kInvalidArgument, path + ": " + message);
}

bool read_exactly(std::FILE* file, void* to, size_t bytes) {
  return std::fread(to, 1, bytes, file) == bytes;
}

// The text after "'key':" of the header's dictionary, which NumPy writes as a Python literal.
std::optional<std::string_view> value_of(std::string_view header, std::string_view key) {
  for (const char quote : {'\'', '"'}) {
    std::string pattern(1, quote);
    pattern.append(key).append(1, quote).append(":");
    const size_t found = header.find(pattern);
    if (found == header.npos) continue;
    std::string_view rest = header.substr(found + pattern.size());
    rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
    return rest;
  }
  return std::nullopt;
}

// "(1, 3, 224, 224)", "(7,)" or "()".
std::optional<std::vector<int64_t>> parse_shape(std::string_view text) {
  std::vector<int64_t> shape;
  if (!text.starts_with('(')) return std::nullopt;
  text.remove_prefix(1);
  for (;;) {
    text.remove_prefix(std::min(text.find_first_not_of(" ,"), text.size()));
    if (text.starts_with(')')) return shape;
    int64_t dim = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), dim);
    if (error != std::errc() || dim < 0) return std::nullopt;
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    shape.push_back(dim);
  }
}

Result<std::string> read_header(const std::string& path, std::FILE* file) {
  unsigned char start[8];
  if (!read_exactly(file, start, sizeof(start)) ||
      std::memcmp(start, kMagic.data(), kMagic.size()) != 0) {
    return invalid(path, "not a .npy file");
  }
  const int major = start[6];
  if (major != 1 && major != 2) {
    return invalid(path, "has .npy version " + std::to_string(major) + ", must be 1 or 2");
  }
  unsigned char length[4] = {};
  if (!read_exactly(file, length, major == 1 ? 2 : 4)) return invalid(path, "is truncated");
  const size_t bytes =
      length[0] | size_t{length[1]} << 8 | size_t{length[2]} << 16 | size_t{length[3]} << 24;
  if (bytes > kMaxHeader)
    return invalid(path, "has a header of " + std::to_string(bytes) + " bytes");
  std::string header(bytes, '\0');
  if (!read_exactly(file, header.data(), bytes)) return invalid(path, "is truncated");
  return header;
}

std::string header_text(const std::vector<int64_t>& shape) {
  std::string text = "{'descr': '<f4', 'fortran_order': False, 'shape': (";
  for (const int64_t dim : shape) text += std::to_string(dim) + ",";
  text += "), }";
  // The data start at a multiple of 64 bytes.
  const size_t before = kMagic.size() + 4;
  text.resize(round_up(before + text.size() + 1, 64) - before - 1, ' ');
  return text + "\n";
}

}  // namespace

Result<NpyArray> read_npy(const std::string& path) {
  const File file(std::fopen(path.c_str(), "rb"));
  if (file == nullptr) return io_error(path, "open");
  Result<std::string> header = read_header(path, file.get());
  if (!header.ok()) return header.status();
  const auto descr = value_of(header.value(), "descr");
  if (!descr || (!descr->starts_with("'<f4'") && !descr->starts_with("\"<f4\""))) {
    return invalid(path, "must hold little-endian float32: use x.astype('<f4')");
  }
  const auto order = value_of(header.value(), "fortran_order");
  if (!order || !order->starts_with("False")) {
    return invalid(path, "must be in C order: use numpy.ascontiguousarray(x)");
  }
  const auto shape_value = value_of(header.value(), "shape");
  const auto shape = shape_value ? parse_shape(*shape_value) : std::nullopt;
  if (!shape) return invalid(path, "has no readable shape");

  CheckedSize count = 1;
  for (const int64_t dim : *shape) count = count * static_cast<size_t>(dim);
  // The size is compared before anything of the claimed size is allocated.
  const long data = std::ftell(file.get());
  if (std::fseek(file.get(), 0, SEEK_END) != 0) return io_error(path, "read");
  const long end = std::ftell(file.get());
  if (data < 0 || end < data || std::fseek(file.get(), data, SEEK_SET) != 0) {
    return io_error(path, "read");
  }
  if ((count * sizeof(float)).value() != static_cast<size_t>(end - data)) {
    return invalid(path, "has " + std::to_string(end - data) + " bytes of data, its shape needs " +
                             std::to_string((count * sizeof(float)).value()));
  }
  NpyArray array = {*shape, std::vector<float>(count.value())};
  if (!read_exactly(file.get(), array.values.data(), array.values.size() * sizeof(float))) {
    return io_error(path, "read");
  }
  return array;
}

Status write_npy(const std::string& path, const NpyArray& array) {
  const File file(std::fopen(path.c_str(), "wb"));
  if (file == nullptr) return io_error(path, "create");
  const std::string header = header_text(array.shape);
  std::string start(kMagic);
  start += {'\x01', '\x00', static_cast<char>(header.size() & 0xFF),
            static_cast<char>(header.size() >> 8)};
  const size_t bytes = array.values.size() * sizeof(float);
  if (std::fwrite(start.data(), 1, start.size(), file.get()) != start.size() ||
      std::fwrite(header.data(), 1, header.size(), file.get()) != header.size() ||
      std::fwrite(array.values.data(), 1, bytes, file.get()) != bytes ||
      std::fflush(file.get()) != 0) {
    return io_error(path, "write");
  }
  return Status();
}

}  // namespace wbcq::tools
