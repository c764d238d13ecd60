"""Hypothesis strategies for what came after version 1.0 of the format, one by one and in graphs.

Graphs have branches, residuals, slices of views, concatenations by placement, tables, and
squeeze-and-excitation blocks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.wbcq.engine.strategies import (
    NUMBERS,
    SEEDS,
    SIZES,
    Builder,
    Draw,
    _shape,
    conv_windows,
    pool_windows,
)
from wbcq.engine.operators import BINARY_FUNCTIONS, UNARY_FUNCTIONS
from wbcq.engine.program import (
    ADAPTIVE,
    BATCH,
    Add,
    AvgPool2d,
    Binary,
    Conv2d,
    Dequantize,
    Io,
    Lookup,
    MaxPool2d,
    Mul,
    Normalize,
    Pad,
    Program,
    Rearrange,
    Resize,
    Softmax,
    Tensor,
    Unary,
)

FEW_CHANNELS = st.one_of(st.integers(1, 9), st.integers(1, 40), st.sampled_from([16, 31, 32, 33]))


def divisors(number: int) -> list[int]:
    """Of a positive number, rising."""
    return [n for n in range(1, number + 1) if number % n == 0]


PARAMETERS: dict[str, st.SearchStrategy[float]] = {
    "slope": st.sampled_from([0.01, 0.1, 0.25, -0.5]),
    "lo": st.sampled_from([-1.0, 0.0, -float("inf")]),
    "hi": st.sampled_from([0.5, 6.0, float("inf")]),
    "scale": st.floats(-3, 3, width=32),
    "shift": st.floats(-3, 3, width=32),
    "alpha": st.sampled_from([1.0, 0.5, 1.6732632]),
    "beta": st.sampled_from([1.0, 0.5, 4.0]),
}
CLOSE_ON_ALL_OF_R = (
    "relu",
    "relu6",
    "leaky_relu",
    "hardswish",
    "hardsigmoid",
    "silu",
    "sigmoid",
    "gelu",
    "gelu_tanh",
    "tanh",
    "neg",
    "abs",
    "clamp",
    "affine",
    "elu",
    "softplus",
    "mish",
)
"""Unary functions without poles, whose results grow at most as fast as their arguments."""


@dataclass
class GraphBuilder(Builder):
    """A program with the operators that came after version 1.0."""

    def tabulated(self, y: Tensor) -> Tensor:
        """Gives the operator that writes ``y``, the last one, a table."""
        table = self._table()
        op: Any = self.ops[-1]
        self.ops[-1] = replace(op, table=table, pre_scale=y.scale, pre_zero_point=y.zero_point)
        self.tensors[y.name] = self._rescaled(y, y.scale, y.scale)
        return self.tensors[y.name]

    def _table(self) -> Any:
        pattern = self.draw(st.sampled_from(["any", "permutation", "rising"]))
        if pattern == "permutation":
            return self.rng.permutation(256).astype(np.uint8)
        values = self.rng.integers(0, 256, 256)
        return (np.sort(values) if pattern == "rising" else values).astype(np.uint8)

    def maybe_tabulated(self, y: Tensor) -> Tensor:
        return self.tabulated(y) if self.draw(st.integers(0, 3)) == 0 else y

    def lookup(self, x: Tensor) -> Tensor:
        y = self.tensor(x)
        y = self.tensors[y.name] = self._rescaled(y, x.scale, x.scale)
        self.ops.append(Lookup(self.name("lookup"), x.name, y.name, self._table()))
        return y

    def mul(self, a: Tensor, b: Tensor) -> Tensor:
        y = self.tensor(a)
        unit = max(a.scale * b.scale, 2.0**-90)
        y = self.tensors[y.name] = self._rescaled(y, unit * 100, unit)
        lo, hi = self._clamp(y.zero_point)
        self.ops.append(Mul(self.name("mul"), a.name, b.name, y.name, lo, hi))
        return self.maybe_tabulated(y)

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        y = super().add(a, b)
        op: Any = self.ops[-1]
        self.ops[-1] = replace(op, subtract=self.draw(st.booleans()))
        return self.maybe_tabulated(y)

    def squeezed(self, x: Tensor) -> Tensor:
        """A 1x1 picture of as many channels: pool, two small layers."""
        y = self.avg_pool2d(x, everything=True)
        if self.draw(st.booleans()):
            y = self.conv2d(y, linear=True)
            y = self.maybe_tabulated(self.conv2d(y, linear=True, channels=x.channels))
        return y

    def slice(self, x: Tensor) -> Tensor:
        """A view of some channels that is read."""
        start = self.draw(st.integers(0, x.channels - 1))
        channels = self.draw(st.integers(1, x.channels - start))
        y = x.view(f"t{len(self.tensors)}", start, channels)
        self.tensors[y.name] = y
        return y

    def resize(self, x: Tensor) -> Tensor:
        height, width = (
            self.draw(st.one_of(st.just(2 * size), st.integers(1, 3 * size)))
            for size in (x.height, x.width)
        )
        y = self.tensor(x, height=height, width=width)
        mode = self.draw(st.sampled_from(["nearest", "bilinear"]))
        align_corners = mode == "bilinear" and self.draw(st.booleans())
        self.ops.append(Resize(self.name("resize"), x.name, y.name, mode, align_corners))
        return y

    def adaptive_size(self, x: Tensor) -> dict[str, int]:
        """Of a picture that a pool gives; larger than ``x`` too."""
        sizes = {"height": x.height, "width": x.width}
        return {key: self.draw(st.integers(1, 2 * size)) for key, size in sizes.items()}

    def adaptive_max_pool2d(self, x: Tensor) -> Tensor:
        y = self.tensor(x, **self.adaptive_size(x))
        self.ops.append(MaxPool2d(self.name("max_pool"), x.name, y.name, ADAPTIVE, ADAPTIVE))
        return y

    def adaptive_avg_pool2d(self, x: Tensor) -> Tensor:
        y = self.tensor(x, **self.adaptive_size(x))
        y = self.tensors[y.name] = self._rescaled(y, x.scale, x.scale)
        lo, hi = self._clamp(y.zero_point)
        name = self.name("avg_pool")
        self.ops.append(AvgPool2d(name, x.name, y.name, ADAPTIVE, ADAPTIVE, lo=lo, hi=hi))
        return self.maybe_tabulated(y)

    def rearrange(self, x: Tensor) -> Tensor:
        """Height and channels are split, all is permuted, cropped, flipped and put together."""
        draw, row = self.draw, x.width * x.channels
        rows = draw(st.sampled_from(divisors(x.height)))
        inner = draw(st.sampled_from(divisors(x.channels)))
        digits = [(x.height // rows, rows * row), (rows, row), (x.width, x.channels)]
        digits += [(x.channels // inner, inner), (inner, 1)]
        offset, sizes, strides = 0, [], []
        for whole, stride in draw(st.permutations([d for d in digits if d[0] > 1])):
            size = draw(st.sampled_from([whole, whole, draw(st.integers(2, whole))]))
            offset += stride * draw(st.integers(0, whole - size))
            flip = draw(st.integers(0, 3)) == 0
            offset += (size - 1) * stride * flip
            sizes.append(size)
            strides.append(-stride if flip else stride)
        cuts = sorted(draw(st.integers(0, len(sizes))) for _ in range(2))
        height, width = math.prod(sizes[: cuts[0]]), math.prod(sizes[cuts[0] : cuts[1]])
        y = self.tensor(x, height=height, width=width, channels=math.prod(sizes[cuts[1] :]))
        digits_of = (tuple(sizes), tuple(strides), offset)
        self.ops.append(Rearrange(self.name("rearrange"), x.name, y.name, *digits_of))
        return y

    def pad(self, x: Tensor) -> Tensor:
        top, left, bottom, right = (self.draw(st.integers(0, 3)) for _ in range(4))
        y = self.tensor(x, height=x.height + top + bottom, width=x.width + left + right)
        values = st.integers(0, 255) if x.dtype == "u8" else st.sampled_from([-1.5, 2.0])
        value = self.draw(st.one_of(st.none(), values.filter(lambda v: v != x.zero_point)))
        pads = (top, left, bottom, right)
        self.ops.append(Pad(self.name("pad"), x.name, y.name, pads, value))
        return y

    def concat(self, xs: list[Tensor]) -> Tensor:
        """Operators on ``xs`` of one picture size write views of one parent."""
        parts = []
        for x in xs:
            kind = self.draw(st.sampled_from(["lookup", "conv2d", "add", "mul"]))
            if kind == "lookup":
                parts.append(self.lookup(x))
            elif kind == "conv2d":
                parts.append(self.maybe_tabulated(self.conv2d(x, keep_size=True)))
            else:
                parts.append(self.add(x, x) if kind == "add" else self.mul(x, x))
        # Scales that a part rounds to may only grow, or a multiplier might leave its bounds.
        scale = max(part.scale for part in parts)
        parent = self.tensor(parts[0], scale=scale, channels=sum(part.channels for part in parts))
        offset = 0
        for i in self.draw(st.permutations(range(len(parts)))):
            part = parts[i]
            self.tensors[part.name] = parent.view(part.name, offset, part.channels)
            offset += part.channels
        return parent

    def dequantize(self, x: Tensor) -> Tensor:
        y = self.tensor(x, dtype="f32", scale=0.0, zero_point=0)
        self.ops.append(Dequantize(self.name("dequantize"), x.name, y.name))
        return y

    def graph(self) -> list[Tensor]:
        """Draws operators; returns every tensor that has a value."""
        draw = self.draw
        x = self.input(FEW_CHANNELS)
        seen = [x]
        for _ in range(draw(st.integers(1, 7))):
            x = draw(st.sampled_from([x, x, *seen]))
            if draw(st.integers(0, 3)) == 0:
                x = self.slice(x)
            x = self.step(draw(st.sampled_from(STEPS)), x, seen)
            seen.append(x)
        return seen

    def step(self, kind: str, x: Tensor, seen: list[Tensor]) -> Tensor:
        """One operator or block of ``kind`` (of :data:`STEPS`) that reads ``x``."""
        draw = self.draw
        pictures = [t for t in seen if (t.height, t.width) == (x.height, x.width)] or [x]
        peers = [t for t in pictures if t.channels == x.channels] or [x]
        several = draw(st.lists(st.sampled_from(pictures), min_size=1, max_size=4))
        match kind:
            case "conv2d":
                return self.maybe_tabulated(self.conv2d(x))
            case "several":
                return self.maybe_tabulated(self.conv2d(x, *several))
            case "depthwise":
                return self.maybe_tabulated(self.conv2d(x, *several, depthwise=True))
            case "residual":
                residual = draw(st.sampled_from(pictures))
                return self.maybe_tabulated(self.conv2d(x, residual=residual))
            case "max_pool2d":
                return self.max_pool2d(x)
            case "avg_pool2d":
                return self.maybe_tabulated(self.avg_pool2d(x))
            case "adaptive_max_pool2d":
                return self.adaptive_max_pool2d(x)
            case "adaptive_avg_pool2d":
                return self.adaptive_avg_pool2d(x)
            case "rearrange":
                return self.rearrange(x)
            case "add":
                return self.add(x, draw(st.sampled_from(peers)))
            case "mul":
                return self.mul(x, draw(st.sampled_from(peers)))
            case "excite":
                return self.mul(x, self.squeezed(x))
            case "shift":
                return self.add(x, self.squeezed(x))
            case "lookup":
                return self.lookup(x)
            case "concat":
                return self.concat([x, *several])
            case "resize":
                return self.resize(x)
            case _:
                return self.pad(x)


STEPS = (
    "conv2d",
    "several",
    "depthwise",
    "residual",
    "max_pool2d",
    "avg_pool2d",
    "adaptive_max_pool2d",
    "adaptive_avg_pool2d",
    "rearrange",
    "add",
    "mul",
    "excite",
    "shift",
    "lookup",
    "concat",
    "resize",
    "pad",
)


@st.composite
def steps(draw: Draw, kind: str) -> Program:
    """Quantize, one step of ``kind`` (of :data:`STEPS`), dequantize."""
    build = GraphBuilder(draw, np.random.default_rng(draw(SEEDS)), draw(NUMBERS))
    x = build.input(FEW_CHANNELS)
    seen = [x, build.slice(x)] if draw(st.booleans()) else [x]
    if draw(st.booleans()):
        other = build.tensor(x, dtype="f32", scale=0.0, zero_point=0, channels=draw(FEW_CHANNELS))
        shape = (BATCH, other.channels, other.height, other.width)
        build.inputs.append(Io(other.name, shape))
        seen.append(build.quantize(other, peer=x))
    build.output(build.step(kind, seen[-1], seen))
    return build.program()


@st.composite
def graphs(draw: Draw) -> Program:
    """Integer graphs with one or more outputs."""
    build = GraphBuilder(draw, np.random.default_rng(draw(SEEDS)), draw(NUMBERS))
    seen = build.graph()
    for extra in draw(st.lists(st.sampled_from(seen), max_size=2, unique_by=lambda t: t.name)):
        build.output(extra)
    if draw(st.booleans()):
        build.output(build.conv2d(build.avg_pool2d(seen[-1], everything=True), head=True))
    if not build.outputs:
        build.output(seen[-1])
    return build.program()


FLOAT_STEPS = (
    "conv2d",
    "depthwise",
    "max_pool2d",
    "avg_pool2d",
    "adaptive_max_pool2d",
    "adaptive_avg_pool2d",
    "rearrange",
    "normalize",
    "add",
    "mul",
    "binary",
    "unary",
    "softmax",
    "resize",
    "pad",
    "concat",
)
FLOAT_CLAMPS = st.sampled_from([(-np.inf, np.inf), (0.0, np.inf), (0.0, 6.0), (-1.5, 0.75)])


@dataclass
class FloatBuilder(GraphBuilder):
    """Steps on f32 tensors whose values stay near 1."""

    def clamp(self) -> dict[str, float]:
        lo, hi = self.draw(FLOAT_CLAMPS)
        return {"act_lo": lo, "act_hi": hi}

    def like(self, x: Tensor, **changes: Any) -> Tensor:
        return self.tensor(x, dtype="f32", scale=0.0, zero_point=0, **changes)

    def float_conv2d(
        self, x: Tensor, *others: Tensor, depthwise: bool = False, y: Tensor | None = None
    ) -> Tensor:
        """Into ``y``, a view of the picture size of ``x``, if it is given."""
        draw = self.draw
        xs = (x, *others)
        inputs = sum(tensor.channels for tensor in xs)
        window = draw(conv_windows(x, keep_size=y is not None))
        channels = y.channels if y else inputs if depthwise else draw(FEW_CHANNELS)
        groups = inputs if depthwise else 1
        shape = (channels, *window.kernel, inputs // groups)
        weight = self.rng.uniform(-1, 1, shape) / np.sqrt(np.prod(shape[1:]))
        if y is None:
            y = self.like(x, height=window.out[0], width=window.out[1], channels=channels)
        self.ops.append(
            Conv2d(
                self.name("conv"),
                tuple(tensor.name for tensor in xs) if others else x.name,
                y.name,
                weight.astype(np.float32),
                self.rng.uniform(-1, 1, channels).astype(np.float32),
                None,
                window.stride,
                window.pads,
                window.dilation,
                groups,
                residual=x.name if _shape(x) == _shape(y) and draw(st.booleans()) else None,
                **self.clamp(),
            )
        )
        return y

    def float_concat(self, xs: list[Tensor]) -> Tensor:
        parent = self.like(xs[0], channels=sum(x.channels for x in xs) + 1)
        offset = 0
        for x in xs:
            # The last part has a channel more, so that it is no copy of its input.
            channels = x.channels + (x is xs[-1] and offset + x.channels + 1 == parent.channels)
            part = parent.view(f"t{len(self.tensors)}", offset, channels)
            self.tensors[part.name] = part
            self.float_conv2d(x, y=part)
            offset += channels
        return parent

    def float_step(self, kind: str, x: Tensor, others: list[Tensor]) -> Tensor:
        draw = self.draw
        peers = [t for t in others if _shape(t) == _shape(x)]
        if draw(st.booleans()):
            peers = [t for t in others if _shape(t) == (1, 1, x.channels)] or peers
        peer = draw(st.sampled_from(peers or [x]))
        pictures = [t for t in others if (t.height, t.width) == (x.height, x.width)] or [x]
        match kind:
            case "conv2d":
                return self.float_conv2d(x, *draw(st.lists(st.sampled_from(pictures), max_size=2)))
            case "depthwise":
                several = draw(st.lists(st.sampled_from(pictures), max_size=2))
                return self.float_conv2d(x, *several, depthwise=True)
            case "concat":
                return self.float_concat(
                    [x, *draw(st.lists(st.sampled_from(pictures), max_size=2))]
                )
            case "max_pool2d":
                return self.max_pool2d(x)
            case "resize":
                return self.resize(x)
            case "pad":
                return self.pad(x)
            case "adaptive_max_pool2d":
                return self.adaptive_max_pool2d(x)
            case "rearrange":
                return self.rearrange(x)
            case "normalize":
                y = self.like(x)
                weight, bias = (self.rng.uniform(-1, 1, x.channels) for _ in range(2))
                groups = draw(st.sampled_from([0, 0, *divisors(x.channels)]))
                self.ops.append(
                    Normalize(
                        self.name("normalize"),
                        x.name,
                        y.name,
                        weight.astype(np.float32),
                        bias.astype(np.float32),
                        groups,
                        draw(st.sampled_from([0.1, 1.0])),
                    )
                )
            case "adaptive_avg_pool2d":
                y = self.like(x, **self.adaptive_size(x))
                window = (ADAPTIVE, ADAPTIVE)
                self.ops.append(
                    AvgPool2d(self.name("avg_pool"), x.name, y.name, *window, **self.clamp())
                )
            case "avg_pool2d":
                window = draw(pool_windows(x, dilated=False))
                y = self.like(x, height=window.out[0], width=window.out[1])
                shape = (window.kernel, window.stride, window.pads, draw(st.booleans()))
                self.ops.append(
                    AvgPool2d(self.name("avg_pool"), x.name, y.name, *shape, **self.clamp())
                )
            case "add":
                y = self.like(x)
                name, subtract = self.name("add"), draw(st.booleans())
                self.ops.append(
                    Add(name, x.name, peer.name, y.name, subtract=subtract, **self.clamp())
                )
            case "mul":
                y = self.like(x)
                self.ops.append(Mul(self.name("mul"), x.name, peer.name, y.name, **self.clamp()))
            case "binary":
                y = self.like(x)
                function = draw(st.sampled_from([f for f in BINARY_FUNCTIONS if f != "div"]))
                self.ops.append(Binary(self.name("binary"), x.name, peer.name, y.name, function))
            case "unary":
                y = self.like(x)
                function = draw(st.sampled_from(CLOSE_ON_ALL_OF_R))
                parameters = tuple(draw(PARAMETERS[p]) for p in UNARY_FUNCTIONS[function])
                self.ops.append(Unary(self.name("unary"), x.name, y.name, function, parameters))
            case _:
                y = self.like(x)
                self.ops.append(Softmax(self.name("softmax"), x.name, y.name))
        return y


@st.composite
def float_programs(draw: Draw, kind: str | None = None) -> Program:
    """Operators on f32 that read the caller's float inputs; one of ``kind``, or a few of any."""
    build = FloatBuilder(draw, np.random.default_rng(draw(SEEDS)), draw(NUMBERS))
    height, width = draw(SIZES), draw(SIZES)
    x = build.like(Tensor("", "f32", height, width, draw(FEW_CHANNELS)))
    build.inputs.append(Io(x.name, (BATCH, x.channels, height, width)))
    seen = [x]
    if draw(st.booleans()):
        pooled = build.like(x, height=1, width=1)
        build.inputs.append(Io(pooled.name, (BATCH, x.channels)))
        seen.append(pooled)
    for _ in range(1 if kind else draw(st.integers(1, 5))):
        if draw(st.integers(0, 3)) == 0:
            x = build.slice(x)
        x = build.float_step(kind or draw(st.sampled_from(FLOAT_STEPS)), x, seen)
        seen.append(x)
    build.output(x)
    return build.program()


@st.composite
def float_inputs_for(draw: Draw, program: Program, batch: int) -> list[Any]:
    """float32 inputs in -3..3."""
    rng = np.random.default_rng(draw(SEEDS))
    return [rng.uniform(-3, 3, (batch, *io.shape[1:])).astype(np.float32) for io in program.inputs]
