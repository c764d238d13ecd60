// A model that uses everything that the versions after 1.0 added.
#ifndef WBCQ_TESTS_FORMAT_WIDE_MODEL_H_
#define WBCQ_TESTS_FORMAT_WIDE_MODEL_H_

#include <bit>
#include <limits>

#include "format/file_builder.h"

namespace wbcq::format::testing {

inline int32_t bits(float value) { return std::bit_cast<int32_t>(value); }

//   input -> q; left, right: views of q that are read; first, second: views of `concat`, written
//   first = table(conv(left)), second = conv(right, left); depthwise(concat, q) -> d
//   s = table(avg_pool(d)); e = d * s; f = table(e - s); g = lookup(f); h = resize(g); p = pad(h)
//   dequantize(p) = pf -> fa = conv(pf) -> fb = conv(fa, fa) + fa -> fc = silu(fb) -> fd = fb / fc
//   -> softmax -> an output; fe = max_pool(fb), ff = avg_pool(fe), fg = fe * ff, fh = fg - ff,
//   fi = resize(fh), fj = pad(fi), quantize(fj) = q2, dequantize(q2): the other output
//   fk = normalize(fb), fl = rearrange(fk)
struct WideModel : FileBuilder {
  static constexpr float kInf = std::numeric_limits<float>::infinity();
  uint32_t input, q, left, right, concat, first, second, d, s, e, f, g, h, p;
  uint32_t pf, fa, fb, fc, fd, probabilities, fe, ff, fg, fh, fi, fj, q2, back, fk, fl;
  size_t quantize, conv_first, conv_second, depthwise, avg_pool, mul, subtract, lookup, resize, pad,
      dequantize, conv_f32, residual_f32, unary, binary, softmax, max_pool_f32, avg_pool_f32,
      mul_f32, subtract_f32, resize_f32, pad_f32, requantize, last, normalize, rearrange;

  WideModel() {
    input = f32_tensor("input", 6, 6, 8);
    q = u8_tensor("q", 6, 6, 8, 0.02f, 128);
    left = view("left", q, 0, 3);
    right = view("right", q, 3, 5);
    first = u8_tensor("first", 6, 6, 4, 0.05f, 3);
    second = u8_tensor("second", 6, 6, 6, 0.05f, 3);
    concat = u8_tensor("concat", 6, 6, 10, 0.05f, 3);
    become_view(first, concat, 0);
    become_view(second, concat, 4);
    d = u8_tensor("d", 6, 6, 18, 0.06f, 20);
    s = u8_tensor("s", 1, 1, 18, 0.004f, 0);
    e = u8_tensor("e", 6, 6, 18, 0.05f, 18);
    f = u8_tensor("f", 6, 6, 18, 0.03f, 12);
    g = u8_tensor("g", 6, 6, 18, 0.01f, 77);
    h = u8_tensor("h", 12, 9, 18, 0.01f, 77);
    p = u8_tensor("p", 13, 12, 18, 0.01f, 77);
    pf = f32_tensor("pf", 13, 12, 18);
    fa = f32_tensor("fa", 13, 12, 4);
    fb = f32_tensor("fb", 13, 12, 4);
    fc = f32_tensor("fc", 13, 12, 4);
    fd = f32_tensor("fd", 13, 12, 4);
    probabilities = f32_tensor("probabilities", 13, 12, 4);
    fe = f32_tensor("fe", 6, 6, 4);
    ff = f32_tensor("ff", 1, 1, 4);
    fg = f32_tensor("fg", 6, 6, 4);
    fh = f32_tensor("fh", 6, 6, 4);
    fi = f32_tensor("fi", 3, 5, 4);
    fj = f32_tensor("fj", 4, 6, 4);
    q2 = u8_tensor("q2", 4, 6, 4, 0.1f, 9);
    back = f32_tensor("back", 4, 6, 4);
    fk = f32_tensor("fk", 13, 12, 4);
    fl = f32_tensor("fl", 12, 13, 4);
    add_u8_ops();
    add_f32_ops();
    add_io(input, false, {kBatch, 8, 6, 6});
    add_io(probabilities, true, {kBatch, 4, 13, 12});
    add_io(back, true, {kBatch, 4, 4, 6});
  }

  uint32_t view(std::string_view name, uint32_t parent, int32_t offset, int32_t channels) {
    const TensorRecord record = tensors[parent];
    const uint32_t index =
        u8_tensor(name, record.dims[1], record.dims[2], channels, record.scale, record.zero_point);
    tensors[index].dtype = record.dtype;
    become_view(index, parent, offset);
    return index;
  }

  void become_view(uint32_t tensor, uint32_t parent, int32_t offset) {
    tensors[tensor].parent = parent + 1;
    tensors[tensor].channel_offset = offset;
  }

  // The operand that is input `i` of an operator.
  uint32_t& operand(size_t op_index, size_t i) { return operands[ops[op_index].first_operand + i]; }

  template <typename T>
  T* blob_data(size_t op_index, size_t role) {
    const OpRecord& record = ops[op_index];
    const uint32_t index = operands[record.first_operand + record.inputs + record.outputs + role];
    return reinterpret_cast<T*>(data.data() + blobs[index].offset);
  }

 private:
  uint32_t i8_blob(std::string_view name, std::initializer_list<uint32_t> dims) {
    std::vector<int8_t> values(size_of(dims));
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int8_t>(i * 37 % 255 - 127);
    return blob<int8_t>(name, DType::kI8, dims, values);
  }
  uint32_t i32_blob(std::string_view name, uint32_t count) {
    return blob<int32_t>(name, DType::kI32, {count}, iota<int32_t>(count, -3));
  }
  uint32_t f32_blob(std::string_view name, std::initializer_list<uint32_t> dims, float value) {
    return blob<float>(name, DType::kF32, dims, std::vector<float>(size_of(dims), value));
  }
  uint32_t table_blob(std::string_view name) {
    return blob<uint8_t>(name, DType::kU8, {256}, iota<uint8_t>(256, 7));
  }
  static size_t size_of(std::initializer_list<uint32_t> dims) {
    size_t size = 1;
    for (const uint32_t dim : dims) size *= dim;
    return size;
  }

  void add_u8_ops() {
    const int32_t pre = bits(0.07f);
    quantize = op(OpKind::kQuantize, "quantize", {input}, q);
    conv_first = op(OpKind::kConv2d, "conv_first", {left}, first,
                    {i8_blob("first.weight", {4, 1, 1, 3}), i32_blob("first.bias", 4),
                     f32_blob("first.scale", {4}, 0.01f), table_blob("first.table")},
                    {1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 5, 250, 0, pre, 100});
    conv_second = op(OpKind::kConv2d, "conv_second", {right, left}, second,
                     {i8_blob("second.weight", {6, 3, 3, 8}), i32_blob("second.bias", 6),
                      f32_blob("second.scale", {1}, 0.02f)},
                     {3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 255});
    depthwise = op(OpKind::kConv2d, "depthwise", {concat, q}, d,
                   {i8_blob("depthwise.weight", {18, 3, 3, 1}), i32_blob("depthwise.bias", 18),
                    f32_blob("depthwise.scale", {18}, 0.03f)},
                   {3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 18, 20, 255});
    avg_pool = op(OpKind::kAvgPool2d, "avg_pool", {d}, s, {table_blob("avg_pool.table")},
                  {6, 6, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 255, pre, 3});
    mul = op(OpKind::kMul, "mul", {d, s}, e, {}, {18, 255});
    subtract = op(OpKind::kAdd, "subtract", {e, s}, f, {table_blob("subtract.table")},
                  {0, 255, pre, 128, 1});
    lookup = op(OpKind::kLookup, "lookup", {f}, g, {table_blob("lookup.table")});
    resize = op(OpKind::kResize, "resize", {g}, h, {}, {format::resize::kNearest, 0});
    pad = op(OpKind::kPad, "pad", {h}, p, {}, {1, 2, 0, 1, 77});
    dequantize = op(OpKind::kDequantize, "dequantize", {p}, pf);
  }

  void add_f32_ops() {
    conv_f32 = op(OpKind::kConv2d, "conv_f32", {pf}, fa,
                  {f32_blob("f32.weight", {4, 1, 1, 18}, 0.5f), f32_blob("f32.bias", {4}, -1)},
                  {1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, bits(-kInf), bits(kInf)});
    residual_f32 =
        op(OpKind::kConv2d, "residual_f32", {fa, fa, fa}, fb,
           {f32_blob("residual.weight", {4, 3, 3, 8}, 0.5f), f32_blob("residual.bias", {4}, 1)},
           {3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, bits(0), bits(6), 1});
    unary = op(OpKind::kUnary, "unary", {fb}, fc, {}, {format::unary::kLeakyRelu, bits(0.1f)});
    binary = op(OpKind::kBinary, "binary", {fb, fc}, fd, {}, {format::binary::kDiv});
    softmax = op(OpKind::kSoftmax, "softmax", {fd}, probabilities);
    max_pool_f32 = op(OpKind::kMaxPool2d, "max_pool_f32", {fb}, fe, {},
                      {3, 2, 2, 2, 0, 0, 0, 0, 1, 1, 0, 0, 0, 255});
    avg_pool_f32 = op(OpKind::kAvgPool2d, "avg_pool_f32", {fe}, ff, {},
                      {6, 6, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0, bits(-kInf), bits(kInf)});
    mul_f32 = op(OpKind::kMul, "mul_f32", {fe, ff}, fg, {}, {bits(-1), bits(kInf)});
    subtract_f32 =
        op(OpKind::kAdd, "subtract_f32", {fg, ff}, fh, {}, {bits(-kInf), bits(kInf), 0, 0, 1});
    resize_f32 = op(OpKind::kResize, "resize_f32", {fh}, fi, {}, {format::resize::kBilinear, 1});
    pad_f32 = op(OpKind::kPad, "pad_f32", {fi}, fj, {}, {1, 0, 0, 1, bits(-kInf)});
    requantize = op(OpKind::kQuantize, "requantize", {fj}, q2);
    last = op(OpKind::kDequantize, "last", {q2}, back);
    normalize = op(OpKind::kNormalize, "normalize", {fb}, fk,
                   {f32_blob("normalize.weight", {4}, 2), f32_blob("normalize.bias", {4}, 1)},
                   {2, bits(1e-5f)});
    rearrange = op(OpKind::kRearrange, "rearrange", {fk}, fl, {},
                   {0, 1, 1, 1, 12, 13, 4, 0, 0, 0, 4, 48, 1});
  }
};

}  // namespace wbcq::format::testing

#endif  // WBCQ_TESTS_FORMAT_WIDE_MODEL_H_
