#include "tools/profile_table.h"

#include <algorithm>
#include <array>
#include <cstdio>

namespace wbcq::tools {
namespace {

constexpr size_t kColumns = 8;
using Row = std::array<std::string, kColumns>;

std::string number(double value, int digits = 1) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.*f", digits, value);
  return text;
}

// Nothing where it would be a division by zero.
std::string ratio(double value, double by, double factor = 1) {
  return by > 0 ? number(factor * value / by) : std::string();
}

std::string bytes_text(size_t bytes) {
  return bytes < (size_t{1} << 20) ? std::to_string(bytes >> 10) + " KB"
                                   : std::to_string(bytes >> 20) + " MB";
}

struct Sums {
  double seconds = 0;
  uint64_t macs = 0;
  uint64_t int8_macs = 0;
  uint64_t bytes = 0;
};

Row row_of(const ProfiledOp& op, double total, const MachineLimits& limits) {
  const OpProfile& profile = op.profile;
  const double giga = profile.seconds * 1e9;
  const auto bytes = static_cast<double>(profile.bytes);
  const double bandwidth =
      bandwidth_at(limits.bandwidths, bytes / static_cast<double>(limits.threads)) *
      static_cast<double>(limits.threads);
  Row row = {profile.name, profile.kernel, number(profile.seconds * 1e6),
             ratio(profile.seconds, total, 100)};
  if (profile.macs > 0) {
    const auto macs = static_cast<double>(profile.macs);
    row[4] = ratio(macs, giga);
    if (op.is_int8) row[5] = ratio(macs, giga * limits.peak.gmacs, 100);
  }
  row[6] = ratio(bytes, giga);
  row[7] = ratio(bytes, giga * bandwidth, 100);
  return row;
}

void append_line(const Row& row, const std::array<size_t, kColumns>& widths, std::string& text) {
  for (size_t c = 0; c < kColumns; ++c) {
    const std::string padding(widths[c] - row[c].size(), ' ');
    if (c > 0) text += "  ";
    text += c < 2 ? row[c] + padding : padding + row[c];
  }
  text.erase(text.find_last_not_of(' ') + 1);
  text += '\n';
}

}  // namespace

std::string profile_table(std::span<const ProfiledOp> ops, const MachineLimits& limits) {
  Sums sums;
  for (const ProfiledOp& op : ops) {
    sums.seconds += op.profile.seconds;
    sums.macs += op.profile.macs;
    sums.int8_macs += op.is_int8 ? op.profile.macs : 0;
    sums.bytes += op.profile.bytes;
  }
  std::vector<Row> rows = {{"operator", "kernel", "us", "%", "GMAC/s", "% peak", "GB/s", "% band"}};
  for (const ProfiledOp& op : ops) rows.push_back(row_of(op, sums.seconds, limits));
  const double giga = sums.seconds * 1e9;
  rows.push_back({"all", "", number(sums.seconds * 1e6), ratio(1, 1, 100),
                  ratio(static_cast<double>(sums.macs), giga),
                  ratio(static_cast<double>(sums.int8_macs), giga * limits.peak.gmacs, 100),
                  ratio(static_cast<double>(sums.bytes), giga), ""});
  std::array<size_t, kColumns> widths = {};
  for (const Row& row : rows) {
    for (size_t c = 0; c < kColumns; ++c) widths[c] = std::max(widths[c], row[c].size());
  }
  std::string text;
  for (const Row& row : rows) append_line(row, widths, text);

  text += "peak: " + number(limits.peak.gmacs) + " GMAC/s (" + limits.peak.kernel +
          "); bandwidth of a thread, GB/s:";
  for (const Bandwidth& bandwidth : limits.bandwidths) {
    text += " " + number(bandwidth.gigabytes, 0) + " at " + bytes_text(bandwidth.bytes);
  }
  const double floor = static_cast<double>(sums.int8_macs) / (limits.peak.gmacs * 1e9);
  if (floor > 0) {
    text += "\nfloor: " + number(floor * 1e3, 3) +
            " ms (int8 multiplications / peak), time / floor: " + number(sums.seconds / floor, 2);
  }
  return text + "\n";
}

}  // namespace wbcq::tools
