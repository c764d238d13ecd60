#include "engine/model.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "engine/layout.h"
#include "engine/tuned.h"
#include "kernels/kernel_table.h"
#include "ops/conv2d.h"
#include "threading/thread_count.h"

namespace wbcq {
namespace {

IoSpec read_io_record(const format::ModelFile& file, const format::IoRecord& record) {
  IoSpec spec;
  spec.name = file.string(file.tensors()[record.tensor].name);
  spec.shape.assign(record.dims, record.dims + record.rank);
  spec.elements = 1;
  for (uint32_t i = 1; i < record.rank; ++i) {
    spec.elements *= static_cast<size_t>(record.dims[i]);
  }
  return spec;
}

// N, H, W, C and N, C, H, W are the same order.
bool same_order(const Tensor& tensor) { return tensor.pixels() == 1 || tensor.channels == 1; }

bool reads(const format::ModelFile& file, const format::OpRecord& op, uint32_t tensor) {
  const std::span<const uint32_t> inputs = file.op_inputs(op);
  return std::find(inputs.begin(), inputs.end(), tensor) != inputs.end();
}

bool is_read(const format::ModelFile& file, uint32_t tensor) {
  return std::any_of(file.ops().begin(), file.ops().end(),
                     [&](const format::OpRecord& op) { return reads(file, op, tensor); });
}

// Whether some operator reads the tensor that cannot reorder it by itself, as kQuantize does unless
// its output is a view.
bool is_computed_on(const format::ModelFile& file, uint32_t tensor) {
  return std::any_of(file.ops().begin(), file.ops().end(), [&](const format::OpRecord& op) {
    const bool reorders = static_cast<format::OpKind>(op.kind) == format::OpKind::kQuantize &&
                          file.tensors()[file.op_outputs(op)[0]].parent == 0;
    return !reorders && reads(file, op, tensor);
  });
}

constexpr std::string_view kDenseChoice = "dense";
constexpr std::string_view kSparseChoice = "sparse";

Status check_choices(const format::ModelFile& file, std::span<const KernelChoice> choices) {
  for (const KernelChoice& choice : choices) {
    const std::string what = "choice for operator \"" + std::string(choice.op) + "\"";
    if (choice.kernel != kDenseChoice && choice.kernel != kSparseChoice) {
      return Status(StatusCode::kInvalidArgument, what + " is \"" + std::string(choice.kernel) +
                                                      "\", must be \"dense\" or \"sparse\"");
    }
    if (std::none_of(file.ops().begin(), file.ops().end(), [&](const format::OpRecord& op) {
          return file.string(op.name) == choice.op;
        })) {
      return Status(StatusCode::kInvalidArgument, what + ": the model has no such operator");
    }
  }
  return Status();
}

// "sparse" is for those who know what they ask for.
Status check_followed(const Op& op, std::span<const KernelChoice> choices) {
  for (const KernelChoice& choice : choices) {
    if (choice.op != op.name() || choice.kernel != kSparseChoice) continue;
    if (op.kernel().starts_with(kSparseChoice)) continue;
    return Status(StatusCode::kInvalidArgument,
                  "choice for operator \"" + op.name() +
                      "\" is \"sparse\", which only convolutions without groups can be");
  }
  return Status();
}

}  // namespace

Result<std::shared_ptr<const Model>> Model::open(const std::string& path,
                                                 const LoadOptions& options) {
  return load(format::ModelFile::open(path), options);
}

Result<std::shared_ptr<const Model>> Model::open(int descriptor, const LoadOptions& options) {
  return load(format::ModelFile::open(descriptor), options);
}

Result<std::shared_ptr<const Model>> Model::from_bytes(std::span<const std::byte> bytes,
                                                       const LoadOptions& options) {
  // Operators keep packed copies of what they need: the file itself is read during this call only.
  return load(format::ModelFile::borrow(bytes), options);
}

Result<std::shared_ptr<const Model>> Model::load(Result<format::ModelFile> file,
                                                 const LoadOptions& options) {
  if (!file.ok()) return file.status();
  const Result<Isa> selected = select_isa(options.isa);
  if (!selected.ok()) return selected.status();
  const KernelTable* kernels = kernel_table(selected.value());
  if (kernels == nullptr) {
    return Status(StatusCode::kUnsupported,
                  "this build has no kernels for ISA " + std::string(isa_name(selected.value())));
  }
  std::shared_ptr<Model> model(new Model());
  model->isa_ = selected.value();
  model->memory_ = options.memory;
  model->metadata_ = file.value().metadata();
  model->read_tensors(file.value());
  model->read_io(file.value());
  assign_layouts(file.value(), model->tensors_);
  model->add_planar_inputs();
  WBCQ_RETURN_IF_ERROR(model->read_ops(file.value(), *kernels, options));
  model->add_planar_outputs();
  return std::shared_ptr<const Model>(std::move(model));
}

void Model::read_tensors(const format::ModelFile& file) {
  for (const format::TensorRecord& record : file.tensors()) {
    Tensor tensor;
    tensor.name = file.string(record.name);
    tensor.dtype = static_cast<format::DType>(record.dtype);
    tensor.height = static_cast<size_t>(record.dims[1]);
    tensor.width = static_cast<size_t>(record.dims[2]);
    tensor.channels = static_cast<size_t>(record.dims[3]);
    tensor.scale = record.scale;
    tensor.zero_point = record.zero_point;
    roots_.push_back(record.parent != 0 ? record.parent - 1 : tensors_.size());
    tensors_.push_back(std::move(tensor));
  }
  has_views_.resize(tensors_.size());
  for (size_t i = 0; i < roots_.size(); ++i) {
    if (roots_[i] != i) has_views_[roots_[i]] = true;
  }
}

// A tensor of its own for the caller's array; these are the last ones.
size_t Model::add_planar_copy(size_t tensor, const Place& place) {
  Tensor planar = tensors_[tensor];
  planar.is_planar = true;
  tensors_.push_back(std::move(planar));
  places_.push_back(place);
  roots_.push_back(roots_.size());
  has_views_.push_back(false);
  return tensors_.size() - 1;
}

// A tensor is the caller's array itself where operators can use that as it is.
void Model::read_io(const format::ModelFile& file) {
  places_.resize(tensors_.size());
  for (const format::IoRecord& record : file.inputs()) {
    const Place place = {Place::Kind::kInput, inputs_.size()};
    Tensor& tensor = tensors_[record.tensor];
    if (has_views_[record.tensor] || (!same_order(tensor) && is_computed_on(file, record.tensor))) {
      reordered_inputs_.emplace_back(record.tensor, add_planar_copy(record.tensor, place));
    } else {
      tensor.is_planar = true;
      places_[record.tensor] = place;
    }
    inputs_.push_back(read_io_record(file, record));
  }
  for (const format::IoRecord& record : file.outputs()) {
    const Place place = {Place::Kind::kOutput, outputs_.size()};
    const bool is_alone = roots_[record.tensor] == record.tensor && !has_views_[record.tensor];
    if (same_order(tensors_[record.tensor]) && is_alone && !is_read(file, record.tensor)) {
      places_[record.tensor] = place;
    } else {
      reordered_outputs_.emplace_back(record.tensor, add_planar_copy(record.tensor, place));
    }
    outputs_.push_back(read_io_record(file, record));
  }
}

// What was timed on this CPU with so many threads; see tuned_choices().
std::string_view Model::read_tuned(const LoadOptions& options, size_t operators) const {
  if (options.memory != MemoryChoice::kSpeed) return {};  // other dense kernels were timed
  size_t threads = options.threads;
  if (threads == 0) {
    const Result<size_t> count = default_thread_count();
    if (!count.ok()) return {};  // whoever makes a session is told
    threads = count.value();
  }
  return tuned_choices(metadata_, tuned_key(isa_, threads), operators);
}

Status Model::read_ops(const format::ModelFile& file, const KernelTable& kernels,
                       const LoadOptions& options) {
  const std::span<const KernelChoice> choices = options.choices;
  WBCQ_RETURN_IF_ERROR(check_choices(file, choices));
  const Result<WinogradUse> winograd = winograd_use_of_environment();
  if (!winograd.ok()) return winograd.status();
  const Result<SparseUse> sparse = sparse_use_of_environment();
  if (!sparse.ok()) return sparse.status();
  const bool is_free = sparse.value() == SparseUse::kMeasured;
  std::string_view tuned = is_free ? read_tuned(options, file.ops().size()) : std::string_view();
  for (const format::OpRecord& record : file.ops()) {
    Step step;
    OpSource source = {};
    source.name = file.string(record.name);
    source.kind = static_cast<format::OpKind>(record.kind);
    source.attrs = record.attrs;
    source.kernels = &kernels;
    source.memory = memory_;
    source.winograd = winograd.value();
    source.sparse = sparse.value();
    if (!tuned.empty()) {
      if (tuned.front() == kTunedDense) source.sparse = SparseUse::kNever;
      if (tuned.front() == kTunedSparse) source.sparse = SparseUse::kAlways;
      tuned.remove_prefix(1);
    }
    for (const KernelChoice& choice : choices) {
      if (choice.op != source.name) continue;
      source.sparse = choice.kernel == kSparseChoice ? SparseUse::kAlways : SparseUse::kNever;
    }
    for (const uint32_t tensor : file.op_inputs(record)) {
      source.inputs.push_back(&tensors_[tensor]);
      step.inputs.push_back(tensor);
    }
    for (const uint32_t tensor : file.op_outputs(record)) {
      source.outputs.push_back(&tensors_[tensor]);
      step.outputs.push_back(tensor);
    }
    if (source.kind == format::OpKind::kConv2d && file.conv2d_residual(record) != format::kNone) {
      source.residual = source.inputs.back();
    }
    AlignedBuffer expanded;  // of sparse weights, which are the only sparse blob
    for (const uint32_t blob : file.op_blobs(record)) {
      Result<std::span<const std::byte>> elements = file.blob_elements(blob, expanded);
      if (!elements.ok()) return elements.status();
      source.blobs.push_back({file.blobs()[blob].dims, elements.value()});
    }
    Result<std::unique_ptr<Op>> op = make_op(source);
    if (!op.ok()) return op.status();
    step.op = std::move(op).value();
    WBCQ_RETURN_IF_ERROR(check_followed(*step.op, choices));
    steps_.push_back(std::move(step));
    // The operator has packed what it needs: file and packed weights are never in memory together.
    for (const uint32_t blob : file.op_blobs(record)) file.release_blob(blob);
  }
  return Status();
}

void Model::add_planar_inputs() {
  for (const auto& [tensor, planar] : reordered_inputs_) {
    steps_.push_back({make_from_planar(tensors_[tensor]), {planar}, {tensor}});
  }
}

void Model::add_planar_outputs() {
  for (const auto& [tensor, planar] : reordered_outputs_) {
    steps_.push_back({make_to_planar(tensors_[tensor]), {tensor}, {planar}});
  }
}

size_t Model::packed_bytes() const {
  return std::accumulate(steps_.begin(), steps_.end(), size_t{0}, [](size_t sum, const Step& step) {
    return sum + step.op->packed_bytes();
  });
}

}  // namespace wbcq
