#include "engine/model.h"

#include <numeric>
#include <utility>

#include "engine/layout.h"
#include "format/message.h"
#include "format/names.h"
#include "kernels/kernel_table.h"

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
bool is_planar(const Tensor& tensor) { return tensor.pixels() == 1 || tensor.channels == 1; }

Status check_views(const format::ModelFile& file, const format::OpRecord& op) {
  const auto unsupported = [&](std::string_view what) {
    return Status(StatusCode::kUnsupported,
                  format::cat("operator ", format::quoted_name(file.string(op.name)), " (",
                              format::op_kind_name(op.kind), what,
                              ") is not supported by this version of the engine"));
  };
  for (const auto tensors : {file.op_inputs(op), file.op_outputs(op)}) {
    for (const uint32_t tensor : tensors) {
      if (file.tensors()[tensor].parent != 0) return unsupported(" of a view");
    }
  }
  if (op.kind == static_cast<uint32_t>(format::OpKind::kQuantize)) {
    for (const format::IoRecord& input : file.inputs()) {
      if (input.tensor == file.op_inputs(op)[0]) return Status();
    }
    return unsupported(" of a computed tensor");
  }
  return Status();
}

}  // namespace

Result<std::shared_ptr<const Model>> Model::open(const std::string& path, std::string_view isa) {
  return load(format::ModelFile::open(path), isa);
}

Result<std::shared_ptr<const Model>> Model::from_bytes(std::span<const std::byte> bytes,
                                                       std::string_view isa) {
  return load(format::ModelFile::from_bytes(bytes), isa);
}

Result<std::shared_ptr<const Model>> Model::load(Result<format::ModelFile> file,
                                                 std::string_view isa) {
  if (!file.ok()) return file.status();
  const Result<Isa> selected = select_isa(isa);
  if (!selected.ok()) return selected.status();
  const KernelTable* kernels = kernel_table(selected.value());
  if (kernels == nullptr) {
    return Status(StatusCode::kUnsupported,
                  "this build has no kernels for ISA " + std::string(isa_name(selected.value())));
  }
  std::shared_ptr<Model> model(new Model());
  model->isa_ = selected.value();
  model->metadata_ = file.value().metadata();
  model->read_tensors(file.value());
  model->read_io(file.value());
  assign_layouts(file.value(), model->tensors_);
  WBCQ_RETURN_IF_ERROR(model->read_ops(file.value(), *kernels));
  model->add_planar_outputs(file.value());
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
    tensors_.push_back(std::move(tensor));
  }
}

// Outputs that need reordering get a tensor of their own, the last ones.
void Model::read_io(const format::ModelFile& file) {
  places_.resize(tensors_.size());
  for (const format::IoRecord& record : file.inputs()) {
    places_[record.tensor] = {Place::Kind::kInput, inputs_.size()};
    inputs_.push_back(read_io_record(file, record));
  }
  for (const format::IoRecord& record : file.outputs()) {
    const Place place = {Place::Kind::kOutput, outputs_.size()};
    if (is_planar(tensors_[record.tensor])) {
      places_[record.tensor] = place;
    } else {
      tensors_.push_back(tensors_[record.tensor]);
      places_.push_back(place);
    }
    outputs_.push_back(read_io_record(file, record));
  }
}

Status Model::read_ops(const format::ModelFile& file, const KernelTable& kernels) {
  for (const format::OpRecord& record : file.ops()) {
    Step step;
    OpSource source = {};
    source.name = file.string(record.name);
    source.kind = static_cast<format::OpKind>(record.kind);
    source.attrs = record.attrs;
    source.kernels = &kernels;
    WBCQ_RETURN_IF_ERROR(check_views(file, record));
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
    for (const uint32_t blob : file.op_blobs(record)) {
      source.blobs.push_back({file.blobs()[blob].dims, file.blob_bytes(blob)});
    }
    Result<std::unique_ptr<Op>> op = make_op(source);
    if (!op.ok()) return op.status();
    step.op = std::move(op).value();
    steps_.push_back(std::move(step));
  }
  return Status();
}

void Model::add_planar_outputs(const format::ModelFile& file) {
  size_t planar = file.tensors().size();
  for (const format::IoRecord& record : file.outputs()) {
    if (is_planar(tensors_[record.tensor])) continue;
    Step step;
    step.op = make_to_planar(tensors_[record.tensor]);
    step.inputs = {record.tensor};
    step.outputs = {planar++};
    steps_.push_back(std::move(step));
  }
}

size_t Model::packed_bytes() const {
  return std::accumulate(steps_.begin(), steps_.end(), size_t{0}, [](size_t sum, const Step& step) {
    return sum + step.op->packed_bytes();
  });
}

}  // namespace wbcq
