// Which convolutions leave out the zero blocks of their weights. docs/design/sparse.md has the
// measurements behind the numbers.
#include <algorithm>
#include <cstdlib>

#include "format/message.h"
#include "ops/conv2d.h"
#include "ops/sparse_weights.h"

namespace wbcq {
namespace {

// Cycles of a tile of SparseKernel::pixels pixels on one core.
struct SparseCosts {
  double blocks[kSparseForms];  // of a block that is not zero
  double quad;                  // bringing 4 input channels into lane order
  double group;                 // rounding 4 outputs and bringing them back
  double spill;                 // of an output's sums between two parts of the depth
  double dense_quad;            // 4 input channels by one output of the dense kernel
  double winograd;              // what Winograd leaves of that
};

const SparseCosts* costs_of(Isa isa) {
  static constexpr SparseCosts kAvx512Vnni = {{2.9, 8.5}, 10, 52, 8, 2.1, 0.6};
  return isa == Isa::kAvx512Vnni ? &kAvx512Vnni : nullptr;
}

// What is lost where the estimate errs is less than what is won elsewhere.
constexpr double kLeastGain = 1.1;

}  // namespace

size_t choose_sparse_form(const Conv2dSpec& spec, const SparseChoice& choice) {
  if (choice.use == SparseUse::kNever || !can_use_sparse(spec)) return kSparseForms;
  const bool always = choice.use == SparseUse::kAlways;
  const SparseCosts* costs = costs_of(spec.kernels->isa);
  if (costs == nullptr) return always ? 0 : kSparseForms;
  // No weights are read that a few of them could speak for.
  if (!always && !may_be_sparse(spec)) return kSparseForms;
  const SparseCensus census = take_census(spec);
  double blocks[kSparseForms];
  for (size_t form = 0; form < kSparseForms; ++form) {
    blocks[form] = costs->blocks[form] * static_cast<double>(census.blocks[form]);
  }
  const size_t form = blocks[1] < blocks[0] ? 1 : 0;
  if (always) return form;

  const auto outputs = static_cast<double>(spec.output->channels);
  const double depth = static_cast<double>(census.quads) / outputs;
  const size_t tile = spec.kernels->sparse->pixels;
  const double parts = static_cast<double>(
      ceil_div(census.quads / spec.output->channels, sparse_part_quads(*spec.kernels->sparse)));
  const double rounding = costs->group * outputs / kSparseGroup;
  double sparse =
      blocks[form] + costs->quad * depth + rounding + costs->spill * outputs * (parts - 1);
  // Half a tile costs half, less costs as much.
  const size_t pixels = spec.output->pixels();
  sparse *= static_cast<double>(round_up(pixels, tile / 2)) / static_cast<double>(pixels);
  double dense = costs->dense_quad * static_cast<double>(census.quads);
  if (choice.against_winograd) dense *= costs->winograd;
  return sparse * kLeastGain < dense + rounding ? form : kSparseForms;
}

Result<SparseUse> sparse_use_of_environment() {
  const char* value = std::getenv("WBCQ_SPARSE");
  if (value == nullptr || *value == '\0') return SparseUse::kMeasured;
  if (std::string_view(value) == "never") return SparseUse::kNever;
  if (std::string_view(value) == "always") return SparseUse::kAlways;
  return Status(StatusCode::kInvalidArgument,
                format::cat("environment variable WBCQ_SPARSE is \"", value,
                            "\"; use always or never, or leave it empty for the fastest"));
}

}  // namespace wbcq
