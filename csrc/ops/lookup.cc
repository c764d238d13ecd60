// Any function of one u8 value, as a table.
#include <algorithm>
#include <array>

#include "ops/elementwise.h"

namespace wbcq {
namespace {

class LookupOp final : public ElementwiseOp {
 public:
  explicit LookupOp(const OpSource& source)
      : ElementwiseOp(source, "lookup", source.kernels->lookup->name),
        kernels_(*source.kernels->lookup) {
    std::copy_n(source.blobs[0].as<uint8_t>().begin(), table_.size(), table_.begin());
  }

 private:
  void run(const Run& run) const override {
    kernels_.lookup_u8({run.pixels, run.channels, reinterpret_cast<const uint8_t*>(run.a),
                        run.a_stride, reinterpret_cast<uint8_t*>(run.out), run.out_stride,
                        table_.data()});
  }

  const LookupKernels& kernels_;
  std::array<uint8_t, 256> table_;
};

}  // namespace

Result<std::unique_ptr<Op>> make_lookup(const OpSource& source) {
  return std::unique_ptr<Op>(std::make_unique<LookupOp>(source));
}

}  // namespace wbcq
