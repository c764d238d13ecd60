"""Elementwise functions of one tensor."""

from __future__ import annotations

import math

from wbcq.graph import ir
from wbcq.graph.translations.call import AtenCall, Emit, Result, Same, Tensor, translates

Function = ir.Function


def unary(x: Tensor | Emit, *functions: Function) -> Emit:
    """A node that applies functions one after the other."""
    return Emit(ir.Unary(functions), (x,), shape=x.shape, arrange=x.arrange)


def affine(x: Tensor | Emit, scale: float, shift: float = 0.0) -> Emit:
    """A node that computes x * scale + shift."""
    return unary(x, Function("affine", (float(scale), float(shift))))


def clamp(x: Tensor | Emit, low: float | None, high: float | None) -> Emit:
    """A node that bounds x; None is no bound."""
    activation = ir.Activation(
        -math.inf if low is None else float(low), math.inf if high is None else float(high)
    )
    return Emit(ir.Clamp(activation), (x,), shape=x.shape, arrange=x.arrange)


@translates("aten.relu.default")
def _relu(call: AtenCall) -> Result:
    return clamp(call.elements("self"), 0.0, None)


@translates("aten.relu6.default")
def _relu6(call: AtenCall) -> Result:
    return clamp(call.elements("self"), 0.0, 6.0)


@translates("aten.hardtanh.default")
def _hardtanh(call: AtenCall) -> Result:
    return clamp(call.elements("self"), call.arguments["min_val"], call.arguments["max_val"])


@translates("aten.clamp.default")
def _clamp(call: AtenCall) -> Result:
    return clamp(call.elements("self"), call.arguments["min"], call.arguments["max"])


@translates("aten.clamp_min.default")
def _clamp_min(call: AtenCall) -> Result:
    return clamp(call.elements("self"), call.arguments["min"], None)


@translates("aten.clamp_max.default")
def _clamp_max(call: AtenCall) -> Result:
    return clamp(call.elements("self"), None, call.arguments["max"])


@translates("aten.threshold.default")
def _threshold(call: AtenCall) -> Result:
    if call.arguments["threshold"] != call.arguments["value"]:
        raise call.unsupported("only a threshold that equals its value is supported")
    return clamp(call.elements("self"), call.arguments["threshold"], None)


@translates(
    "aten.abs.default",
    "aten.exp.default",
    "aten.hardsigmoid.default",
    "aten.hardswish.default",
    "aten.log.default",
    "aten.mish.default",
    "aten.reciprocal.default",
    "aten.rsqrt.default",
    "aten.sigmoid.default",
    "aten.silu.default",
    "aten.sqrt.default",
    "aten.square.default",
    "aten.tanh.default",
)
def _plain(call: AtenCall) -> Result:
    return unary(call.elements("self"), Function(call.operator.split(".")[1].removesuffix("_")))


@translates("aten.neg.default")
def _neg(call: AtenCall) -> Result:
    return affine(call.elements("self"), -1.0)


@translates("aten.leaky_relu.default")
def _leaky_relu(call: AtenCall) -> Result:
    slope = float(call.arguments["negative_slope"])
    return unary(call.elements("self"), Function("leaky_relu", (slope,)))


@translates("aten.rrelu.default")
def _rrelu(call: AtenCall) -> Result:
    if call.arguments["training"]:
        raise call.unsupported("its slopes are random in evaluation mode")
    slope = (float(call.arguments["lower"]) + float(call.arguments["upper"])) / 2.0
    return unary(call.elements("self"), Function("leaky_relu", (slope,)))


@translates("aten.gelu.default")
def _gelu(call: AtenCall) -> Result:
    name = {"none": "gelu", "tanh": "gelu_tanh"}[call.arguments["approximate"]]
    return unary(call.elements("self"), Function(name))


@translates("aten.elu.default")
def _elu(call: AtenCall) -> Result:
    if call.arguments["input_scale"] != 1:
        raise call.unsupported("an input_scale is not supported")
    return _scaled_elu(call, float(call.arguments["alpha"]), float(call.arguments["scale"]))


@translates("aten.selu.default")
def _selu(call: AtenCall) -> Result:
    return _scaled_elu(call, 1.6732632423543772, 1.0507009873554805)


@translates("aten.celu.default")
def _celu(call: AtenCall) -> Result:
    alpha = float(call.arguments["alpha"])
    return unary(
        call.elements("self"),
        Function("affine", (1.0 / alpha, 0.0)),
        Function("elu", (1.0,)),
        Function("affine", (alpha, 0.0)),
    )


def _scaled_elu(call: AtenCall, alpha: float, scale: float) -> Result:
    functions = [Function("elu", (alpha,))]
    if scale != 1.0:
        functions.append(Function("affine", (scale, 0.0)))
    return unary(call.elements("self"), *functions)


@translates("aten.softplus.default")
def _softplus(call: AtenCall) -> Result:
    # The threshold only spares the exponential where it changes nothing that float32 can hold.
    beta = float(call.arguments["beta"])
    if beta == 1.0:
        return unary(call.elements("self"), Function("softplus"))
    return unary(
        call.elements("self"),
        Function("affine", (beta, 0.0)),
        Function("softplus"),
        Function("affine", (1.0 / beta, 0.0)),
    )


@translates("aten.log_sigmoid.default")
def _log_sigmoid(call: AtenCall) -> Result:
    negated = Function("affine", (-1.0, 0.0))
    return unary(call.elements("self"), negated, Function("softplus"), negated)


@translates("aten.pow.Tensor_Scalar")
def _pow(call: AtenCall) -> Result:
    exponent = call.arguments["exponent"]
    names = {2: "square", 0.5: "sqrt", -1: "reciprocal", -0.5: "rsqrt"}
    if exponent == 1:
        return Same("self")
    if exponent not in names:
        raise call.unsupported(f"the exponent {exponent}; only 1, 2, 0.5, -1 and -0.5")
    return unary(call.elements("self"), Function(names[exponent]))


@translates("aten.prelu.default")
def _prelu(call: AtenCall) -> Result:
    """With a slope for each channel, max(x, 0) + slope * min(x, 0)."""
    slopes = call.read(call.parameter("weight")).reshape(-1)
    if slopes.size == 1:
        return unary(call.elements("self"), Function("leaky_relu", (float(slopes[0]),)))
    x = call.tensor("self")
    slope = {"weight": slopes, "bias": 0.0 * slopes}
    negative = Emit(ir.ChannelAffine(), (clamp(x, None, 0.0),), slope, x.shape)
    return Emit(ir.Add(), (negative, clamp(x, 0.0, None)))


@translates("aten.glu.default")
def _glu(call: AtenCall) -> Result:
    x = call.tensor("self")
    if call.axis(call.arguments["dim"], len(x.shape)) != 1:
        raise call.unsupported("a gate over rows or columns; only over channels (dim=1)")
    channels = call.output_shape[1]
    assert channels is not None
    left = Emit(ir.Slice(0, channels), (x,), shape=call.output_shape)
    right = Emit(ir.Slice(channels, 2 * channels), (x,), shape=call.output_shape)
    return Emit(ir.Mul(), (left, unary(right, Function("sigmoid"))))
