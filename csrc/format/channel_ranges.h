// A set of channels of one tensor.
#ifndef WBCQ_FORMAT_CHANNEL_RANGES_H_
#define WBCQ_FORMAT_CHANNEL_RANGES_H_

#include <cstdint>
#include <iterator>
#include <map>

namespace wbcq::format {

class ChannelRanges {
 public:
  // Adds [start, end), start < end; false, and nothing is added, if one of them is there already.
  bool add(int32_t start, int32_t end) {
    auto next = ranges_.upper_bound(start);
    if (next != ranges_.end() && next->first < end) return false;
    const bool has_previous = next != ranges_.begin();
    if (has_previous && std::prev(next)->second > start) return false;
    if (next != ranges_.end() && next->first == end) {
      end = next->second;
      next = ranges_.erase(next);
    }
    if (has_previous && std::prev(next)->second == start) {
      std::prev(next)->second = end;
    } else {
      ranges_.emplace_hint(next, start, end);
    }
    return true;
  }

  // True if all of [start, end) are in the set.
  bool holds(int32_t start, int32_t end) const {
    const auto next = ranges_.upper_bound(start);
    return next != ranges_.begin() && std::prev(next)->second >= end;
  }

 private:
  std::map<int32_t, int32_t> ranges_;  // start to end, disjoint and not touching
};

}  // namespace wbcq::format

#endif  // WBCQ_FORMAT_CHANNEL_RANGES_H_
