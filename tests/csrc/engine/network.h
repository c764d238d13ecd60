// Random networks as model files, and their execution without an engine: each operator by itself,
// each tensor in memory of its own.
#ifndef WBCQ_TESTS_ENGINE_NETWORK_H_
#define WBCQ_TESTS_ENGINE_NETWORK_H_

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/aligned_buffer.h"
#include "engine/model.h"
#include "format/file_builder.h"
#include "support/random.h"

namespace wbcq::testing {

using Floats = std::vector<float>;

// Branches, residuals, clipped pools, heads and feature maps as outputs.
class RandomNetwork : public format::testing::FileBuilder {
 public:
  explicit RandomNetwork(Random& random) : random_(random) {
    for (int64_t i = random.uniform(1, 2); i > 0; --i) add_input();
    for (int64_t i = random.uniform(2, 14); i > 0; --i) add_layer();
    for (int64_t i = random.uniform(1, 3); i > 0; --i) add_output();
  }

 private:
  struct Value {
    uint32_t tensor;
    int32_t height, width, channels;
  };

  std::string name(const char* kind) { return kind + std::to_string(ops.size()); }
  int32_t pick(int64_t lo, int64_t hi) { return static_cast<int32_t>(random_.uniform(lo, hi)); }
  const Value& pick_value() {
    return values_[static_cast<size_t>(pick(0, std::ssize(values_) - 1))];
  }

  Value add_value(const char* kind, int32_t height, int32_t width, int32_t channels) {
    return {u8_tensor(name(kind), height, width, channels, random_.uniform_float(0.02f, 0.05f),
                      pick(0, 255)),
            height, width, channels};
  }

  const Value* find_same_shape(const Value& value) {
    for (size_t i = values_.size(); i-- > 0;) {
      const Value& other = values_[i];
      if (other.height == value.height && other.width == value.width &&
          other.channels == value.channels && !random_.one_in(3)) {
        return &other;
      }
    }
    return nullptr;
  }

  void add_input() {
    const int32_t height = pick(4, 14), width = pick(4, 14), channels = pick(1, 20);
    const uint32_t input = f32_tensor(name("input"), height, width, channels);
    const Value value = add_value("q", height, width, channels);
    op(format::OpKind::kQuantize, name("quantize"), {input}, value.tensor);
    inputs_.push_back({input, height, width, channels});
    add_io(input, false, {format::kBatch, channels, height, width});
    values_.push_back(value);
  }

  void add_layer() {
    const Value x = pick_value();
    const int64_t kind = random_.uniform(0, 9);
    if (kind == 0 && x.height > 2 && x.width > 2) return add_max_pool(x);
    if (kind == 1) {
      if (const Value* other = find_same_shape(x)) return add_add(x, *other);
    }
    add_conv(x, false);
  }

  void add_max_pool(const Value& x) {
    const Value y = {u8_tensor(name("pooled"), (x.height - 1) / 2 + 1, (x.width - 1) / 2 + 1,
                               x.channels, tensors[x.tensor].scale, tensors[x.tensor].zero_point),
                     (x.height - 1) / 2 + 1, (x.width - 1) / 2 + 1, x.channels};
    op(format::OpKind::kMaxPool2d, name("max_pool"), {x.tensor}, y.tensor, {},
       {3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 0, 0, 0, 255});
    values_.push_back(y);
  }

  void add_add(const Value& a, const Value& b) {
    const Value y = add_value("sum", a.height, a.width, a.channels);
    op(format::OpKind::kAdd, name("add"), {a.tensor, b.tensor}, y.tensor, {}, {0, 255});
    values_.push_back(y);
  }

  Value add_conv(const Value& x, bool head) {
    const int32_t kernel = random_.one_in(2) ? 1 : 3;
    const int32_t stride = random_.one_in(4) ? 2 : 1;
    const int32_t pad = kernel / 2;
    const int32_t height = (x.height + 2 * pad - kernel) / stride + 1;
    const int32_t width = (x.width + 2 * pad - kernel) / stride + 1;
    const bool depthwise = random_.one_in(5);
    const int32_t channels = depthwise || random_.one_in(2) ? x.channels : pick(1, 40);
    const int32_t groups = depthwise ? x.channels : 1;
    const auto depth = static_cast<size_t>(kernel * kernel * x.channels / groups);
    const std::string label = name("conv");
    const Value y =
        head ? Value{f32_tensor(name("head"), height, width, channels), height, width, channels}
             : add_value("conv", height, width, channels);
    const Value* residual = head || random_.one_in(2) ? nullptr : find_same_shape(y);

    std::vector<int8_t> weights(depth * static_cast<size_t>(channels));
    for (int8_t& weight : weights) weight = static_cast<int8_t>(pick(-127, 127));
    std::vector<int32_t> bias(static_cast<size_t>(channels));
    for (int32_t& value : bias) value = pick(-5000, 5000);
    const auto u = [](int32_t value) { return static_cast<uint32_t>(value); };
    const uint32_t weight_blob =
        blob<int8_t>(label + ".weight", format::DType::kI8,
                     {u(channels), u(kernel), u(kernel), u(x.channels / groups)}, weights);
    const uint32_t bias_blob =
        head ? blob<float>(label + ".bias", format::DType::kF32, {u(channels)},
                           Floats(bias.begin(), bias.end()))
             : blob<int32_t>(label + ".bias", format::DType::kI32, {u(channels)}, bias);
    const uint32_t scale_blob = blob<float>(label + ".scale", format::DType::kF32, {1},
                                            Floats{0.02f / std::sqrt(static_cast<float>(depth))});
    const std::initializer_list<int32_t> attrs = {
        kernel, kernel, stride, stride, pad, pad, pad,
        pad,    1,      1,      groups, 0,   255, residual != nullptr};
    if (residual != nullptr) {
      op(format::OpKind::kConv2d, label, {x.tensor, residual->tensor}, y.tensor,
         {weight_blob, bias_blob, scale_blob}, attrs);
    } else {
      op(format::OpKind::kConv2d, label, {x.tensor}, y.tensor, {weight_blob, bias_blob, scale_blob},
         attrs);
    }
    if (!head) values_.push_back(y);
    return y;
  }

  void add_output() {
    const Value x = random_.one_in(2) ? values_.back() : pick_value();
    Value y;
    if (random_.one_in(2)) {
      y = add_conv(x, true);
    } else {
      y = {f32_tensor(name("output"), x.height, x.width, x.channels), x.height, x.width,
           x.channels};
      op(format::OpKind::kDequantize, name("dequantize"), {x.tensor}, y.tensor);
    }
    if (random_.one_in(2)) {
      add_io(y.tensor, true, {format::kBatch, y.channels * y.height * y.width});
    } else {
      add_io(y.tensor, true, {format::kBatch, y.channels, y.height, y.width});
    }
  }

  Random& random_;
  std::vector<Value> inputs_;
  std::vector<Value> values_;
};

inline std::shared_ptr<const Model> load_or_fail(const format::testing::Bytes& bytes,
                                                 std::string_view isa,
                                                 MemoryChoice memory = MemoryChoice::kSpeed) {
  auto model = Model::from_bytes(bytes, {isa, memory});
  EXPECT_TRUE(model.ok()) << model.status().message();
  return model.ok() ? std::move(model).value() : nullptr;
}

inline std::vector<Floats> random_inputs(Random& random, const Model& model, size_t batch) {
  std::vector<Floats> inputs;
  for (const IoSpec& spec : model.inputs()) {
    inputs.emplace_back(batch * spec.elements);
    for (float& value : inputs.back()) value = random.uniform_float(-4.0f, 4.0f);
  }
  return inputs;
}

inline std::vector<Floats> empty_outputs(const Model& model, size_t batch) {
  std::vector<Floats> outputs;
  for (const IoSpec& spec : model.outputs()) outputs.emplace_back(batch * spec.elements);
  return outputs;
}

inline std::vector<const float*> pointers(const std::vector<Floats>& arrays) {
  std::vector<const float*> result;
  for (const Floats& array : arrays) result.push_back(array.data());
  return result;
}

inline std::vector<float*> pointers(std::vector<Floats>& arrays) {
  std::vector<float*> result;
  for (Floats& array : arrays) result.push_back(array.data());
  return result;
}

inline std::vector<Floats> run_step_by_step(const Model& model, const std::vector<Floats>& inputs,
                                            size_t batch) {
  std::vector<AlignedBuffer> memory;
  for (const Tensor& tensor : model.tensors()) {
    auto buffer = AlignedBuffer::allocate(tensor.layout.bytes(batch), tensor.name);
    EXPECT_TRUE(buffer.ok());
    memory.push_back(std::move(buffer).value());
  }
  std::vector<Floats> outputs = empty_outputs(model, batch);
  for (const Step& step : model.steps()) {
    std::vector<const std::byte*> from;
    std::vector<std::byte*> to;
    for (const size_t tensor : step.inputs) {
      const Place& place = model.place(tensor);
      from.push_back(place.kind == Place::Kind::kInput
                         ? reinterpret_cast<const std::byte*>(inputs[place.index].data())
                         : memory[model.root(tensor)].data());
    }
    for (const size_t tensor : step.outputs) {
      const Place& place = model.place(tensor);
      to.push_back(place.kind == Place::Kind::kOutput
                       ? reinterpret_cast<std::byte*>(outputs[place.index].data())
                       : memory[model.root(tensor)].data());
    }
    const std::unique_ptr<OpPlan> plan = step.op->plan(batch, 1);
    auto scratch = AlignedBuffer::allocate(plan->scratch_bytes(), "scratch");
    plan->run({from, to}, 0, plan->tiles(), scratch.value().data());
  }
  return outputs;
}

}  // namespace wbcq::testing

#endif  // WBCQ_TESTS_ENGINE_NETWORK_H_
