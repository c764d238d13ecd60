// A model whose weights are stored sparse in every way.
#ifndef WBCQ_TESTS_FORMAT_SPARSE_MODEL_H_
#define WBCQ_TESTS_FORMAT_SPARSE_MODEL_H_

#include "format/file_builder.h"

namespace wbcq::format::testing {

// `count` values of which one in `period` blocks of four is not zero.
template <typename T>
std::vector<T> pruned(size_t count, size_t period) {
  std::vector<T> values(count);
  for (size_t i = 0; i < count; ++i) {
    if (i / 4 % period == 0) values[i] = static_cast<T>(static_cast<int>(i % 23) - 11);
  }
  return values;
}

//   input -> q -> a = conv(q, 3x3), blocks of 1 -> b = conv(a, q), blocks of 4, rows of 17
//         -> head = conv(b), all zero -> an output
//   dequantize(b) -> c = conv(b), float, blocks of 4 -> d = conv(c), float, blocks of 1 -> an
//   output
struct SparseModel : FileBuilder {
  uint32_t input, q, a, b, logits, island, c, d;
  size_t quantize, conv, several, head, dequantize, conv_f32, last;
  // Blobs.
  uint32_t weight, several_weight, head_weight, f32_weight, last_weight;

  SparseModel() {
    input = f32_tensor("input", 6, 5, 8);
    q = u8_tensor("q", 6, 5, 8, 0.02f, 128);
    a = u8_tensor("a", 6, 5, 9, 0.05f, 3);
    b = u8_tensor("b", 6, 5, 12, 0.07f, 0);
    logits = f32_tensor("logits", 6, 5, 8);
    island = f32_tensor("island", 6, 5, 12);
    c = f32_tensor("c", 6, 5, 6);
    d = f32_tensor("d", 6, 5, 5);
    quantize = op(OpKind::kQuantize, "quantize", {input}, q);
    weight = sparse_blob("conv.weight", DType::kI8, {9, 3, 3, 8}, pruned<int8_t>(648, 3), 1);
    conv = op(OpKind::kConv2d, "conv", {q}, a,
              {weight, blob<int32_t>("conv.bias", DType::kI32, {9}, iota<int32_t>(9, -3)),
               blob<float>("conv.scale", DType::kF32, {9}, std::vector<float>(9, 0.01f))},
              {3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 255});
    several_weight =
        sparse_blob("several.weight", DType::kI8, {12, 1, 1, 17}, pruned<int8_t>(204, 2), 4);
    several = op(
        OpKind::kConv2d, "several", {a, q}, b,
        {several_weight, blob<int32_t>("several.bias", DType::kI32, {12}, iota<int32_t>(12, 100)),
         blob<float>("several.scale", DType::kF32, {1}, std::vector<float>{0.02f})},
        {1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 200});
    head_weight = sparse_blob("head.weight", DType::kI8, {8, 1, 1, 12}, std::vector<int8_t>(96), 4);
    head = op(OpKind::kConv2d, "head", {b}, logits,
              {head_weight, blob<float>("head.bias", DType::kF32, {8}, std::vector<float>(8, 1.5f)),
               blob<float>("head.scale", DType::kF32, {8}, std::vector<float>(8, 0.03f))},
              {1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 255});
    dequantize = op(OpKind::kDequantize, "dequantize", {b}, island);
    constexpr int32_t kMinusInf = static_cast<int32_t>(0xFF800000u), kPlusInf = 0x7F800000;
    f32_weight = sparse_blob("island.weight", DType::kF32, {6, 1, 1, 12}, pruned<float>(72, 2), 4);
    conv_f32 = op(OpKind::kConv2d, "island", {island}, c,
                  {f32_weight, blob<float>("island.bias", DType::kF32, {6}, iota<float>(6, -1))},
                  {1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, kMinusInf, kPlusInf});
    last_weight = sparse_blob("last.weight", DType::kF32, {5, 3, 3, 6}, pruned<float>(270, 5), 1);
    last = op(OpKind::kConv2d, "last", {c}, d,
              {last_weight, blob<float>("last.bias", DType::kF32, {5}, iota<float>(5, -1))},
              {3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, kMinusInf, kPlusInf});
    add_io(input, false, {kBatch, 8, 6, 5});
    add_io(logits, true, {kBatch, 8, 6, 5});
    add_io(d, true, {kBatch, 5, 6, 5});
  }
};

}  // namespace wbcq::format::testing

#endif  // WBCQ_TESTS_FORMAT_SPARSE_MODEL_H_
