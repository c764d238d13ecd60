// Which convolutions leave out the zero blocks of their weights, or in float the zero weights.
// docs/design/sparse.md has the measurements behind the numbers.
#include <algorithm>
#include <cstdlib>

#include "format/message.h"
#include "ops/conv2d.h"
#include "ops/conv2d_f32.h"
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
  double dense_group;           // rounding 4 outputs
  double winograd;              // what Winograd leaves of the dense products
};

// In float a quad is one channel.
struct IsaCosts {
  SparseCosts integers;
  SparseCosts floats;
};

const IsaCosts* costs_of(Isa isa) {
  // Measured.
  static constexpr IsaCosts kAvx512Vnni = {{{2.9, 4.5, 8.5}, 10, 52, 8, 2.1, 52, 0.6},
                                           {{2.9, 4.2, 7.5}, 16, 100, 9, 2.1, 56, 1}};
  static constexpr IsaCosts kAvx2 = {{{3.2, 5.9, 12.4}, 9, 33, 4, 2.7, 23, 0.3},
                                     {{1.4, 2.3, 4.3}, 7.5, 52, 3, 1.04, 11, 1}};
  // Modelled, not measured: the loops' cycles on the in-order cores, Cortex-A53 and Cortex-A55,
  // where sparse gains least; one instruction a cycle outside the loops.
  static constexpr IsaCosts kNeon = {{{17.4, 27, 46}, 22, 120, 8, 12.2, 60, 0.3},
                                     {{8.8, 15.5, 29}, 22, 120, 8, 4, 30, 1}};
  static constexpr IsaCosts kNeonDot = {{{14.3, 18.2, 26}, 43, 225, 12, 3.8, 110, 0.3},
                                        {{14.5, 18, 25}, 43, 230, 12, 4.3, 60, 1}};
  switch (isa) {
    case Isa::kAvx512Vnni:
      return &kAvx512Vnni;
    case Isa::kAvx2:
      return &kAvx2;
    case Isa::kNeon:
      return &kNeon;
    case Isa::kNeonDot:
    case Isa::kNeonI8mm:
      return &kNeonDot;
    case Isa::kScalar:
      return nullptr;
  }
  return nullptr;
}

// What is lost where the estimate errs is less than what is won elsewhere.
constexpr double kLeastGain = 1.1;

size_t choose(const SparseSource& source, SparseUse use, Isa isa, bool against_winograd,
              size_t pixels) {
  const bool always = use == SparseUse::kAlways;
  const IsaCosts* isa_costs = costs_of(isa);
  if (isa_costs == nullptr) return always ? 0 : kSparseForms;
  // No weights are read that a few of them could speak for.
  if (!always && !may_be_sparse(source)) return kSparseForms;
  const SparseCosts& costs = source.is_float ? isa_costs->floats : isa_costs->integers;
  const SparseCensus census = take_census(source);
  double blocks[kSparseForms];
  for (size_t form = 0; form < kSparseForms; ++form) {
    blocks[form] = costs.blocks[form] * static_cast<double>(census.blocks[form]);
  }
  const auto form = static_cast<size_t>(std::min_element(blocks, blocks + kSparseForms) - blocks);
  if (always) return form;

  const auto outputs = static_cast<double>(source.outputs);
  const double depth = static_cast<double>(census.quads) / outputs;
  const size_t tile = source.kernel->pixels;
  const double parts = static_cast<double>(
      ceil_div(census.quads / source.outputs, sparse_part_quads(*source.kernel, form)));
  const double groups = outputs / kSparseGroup;
  double sparse = blocks[form] + costs.quad * depth + costs.group * groups +
                  costs.spill * outputs * (parts - 1);
  // Half a tile costs half, less costs as much.
  sparse *= static_cast<double>(round_up(pixels, tile / 2)) / static_cast<double>(pixels);
  double dense = costs.dense_quad * static_cast<double>(census.quads);
  if (against_winograd) dense *= costs.winograd;
  return sparse * kLeastGain < dense + costs.dense_group * groups ? form : kSparseForms;
}

}  // namespace

size_t choose_sparse_form(const Conv2dSpec& spec, const SparseChoice& choice) {
  if (choice.use == SparseUse::kNever || !can_use_sparse(spec)) return kSparseForms;
  return choose(sparse_source(spec), choice.use, spec.kernels->isa, choice.against_winograd,
                spec.output->pixels());
}

size_t choose_sparse_form(const Conv2dF32Spec& spec, SparseUse use) {
  if (use == SparseUse::kNever || spec.groups != 1) return kSparseForms;
  return choose(sparse_source(spec), use, spec.kernels->isa,
                /*against_winograd=*/false, spec.output->pixels());
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
