// NumPy's .npy files, versions 1.0 and 2.0, of float32 in C order.
#ifndef WBCQ_TOOLS_NPY_H_
#define WBCQ_TOOLS_NPY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

namespace wbcq::tools {

struct NpyArray {
  std::vector<int64_t> shape;
  std::vector<float> values;
};

// Errors name the path: kIo, or kInvalidArgument for another dtype, order or version.
Result<NpyArray> read_npy(const std::string& path);

Status write_npy(const std::string& path, const NpyArray& array);

}  // namespace wbcq::tools

#endif  // WBCQ_TOOLS_NPY_H_
