"""Hypothesis strategies that draw integer programs and inputs for them.

Shapes, geometry and quantization parameters are drawn one by one, so that a failure shrinks to a
small program; the values of arrays come from a drawn seed and a drawn pattern.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from wbcq.engine.program import (
    BATCH,
    Add,
    AvgPool2d,
    Conv2d,
    Dequantize,
    Io,
    MaxPool2d,
    Op,
    Program,
    Quantize,
    Tensor,
)
from wbcq.engine.validate import window_count

Draw = Callable[[st.SearchStrategy[Any]], Any]
T = TypeVar("T")
INT32 = np.iinfo(np.int32)


def cases(multiple: float) -> settings:
    """Settings with a multiple of the profile's number of examples."""
    return settings(max_examples=round(settings.default.max_examples * multiple))


CHANNELS = st.one_of(
    st.integers(1, 9), st.integers(1, 70), st.sampled_from([15, 16, 17, 31, 32, 33, 48, 63, 64, 65])
)
SIZES = st.one_of(st.just(1), st.integers(1, 5), st.integers(1, 14))


@dataclass(frozen=True)
class Numbers:
    """How quantization parameters and values are drawn."""

    zero_points: st.SearchStrategy[int]
    scales: st.SearchStrategy[float]
    # How a tensor's step relates to the natural one.
    stretches: st.SearchStrategy[float]
    weights: st.SearchStrategy[str]
    biases: st.SearchStrategy[str]
    lowest: st.SearchStrategy[int | None]  # None: the zero point, as for ReLU
    highest: st.SearchStrategy[int]


# Most outputs lie inside 0..255.
ORDINARY = Numbers(
    zero_points=st.one_of(st.integers(96, 160), st.just(128)),
    scales=st.one_of(st.floats(2.0**-10, 2.0, width=32), st.sampled_from([1.0, 1 / 3])),
    stretches=st.floats(0.5, 2.0),
    weights=st.sampled_from(["uniform", "narrow", "signs"]),
    biases=st.sampled_from(["zero", "natural"]),
    lowest=st.sampled_from([0, 0, None]),
    highest=st.sampled_from([255, 255, 200]),
)
# Saturation, results that are all the zero point, accumulators that fill int32.
EXTREME = Numbers(
    zero_points=st.one_of(st.sampled_from([0, 255, 1, 254]), st.integers(0, 255)),
    scales=st.one_of(ORDINARY.scales, st.sampled_from([2.0**-60, 2.0**-30, 1e-7, 1e7, 2.0**30])),
    stretches=st.one_of(ORDINARY.stretches, st.sampled_from([2.0**e for e in (-20, -6, 6, 25)])),
    weights=st.sampled_from(["uniform", "narrow", "signs", "lowest", "highest"]),
    biases=st.sampled_from(["zero", "natural", "lowest", "highest"]),
    lowest=st.one_of(st.sampled_from([0, None]), st.integers(0, 255)),
    highest=st.one_of(st.just(255), st.integers(0, 255)),
)
NUMBERS = st.sampled_from([ORDINARY, ORDINARY, ORDINARY, EXTREME])


@dataclass(frozen=True)
class Window:
    """Geometry of a convolution or pool, and the output size that it gives."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilation: tuple[int, int]
    out: tuple[int, int]


@st.composite
def conv_axes(draw: Draw, size: int, keep_size: bool) -> tuple[int, int, int, int, int]:
    """Kernel, stride, pad before, pad after, dilation of a convolution along one axis."""
    dilation = draw(st.sampled_from([1, 1, 1, 2, 3]))
    if keep_size:
        kernel = draw(st.integers(1, 5))
        before = draw(st.integers(0, dilation * (kernel - 1)))
        return kernel, 1, before, dilation * (kernel - 1) - before, dilation
    before, after = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    widest = (size + before + after - 1) // dilation + 1
    kernel = draw(st.integers(1, min(widest, 7)))
    return kernel, draw(st.integers(1, 4)), before, after, dilation


@st.composite
def winograd_windows(draw: Draw, x: Tensor) -> Window:
    """3x3 with stride 1, mostly with a padding of 1: what the Winograd kernels compute."""
    pads = []
    for size in (x.height, x.width):
        least = max(0, 3 - size)
        before = draw(st.sampled_from([1, 1, 0, 2, 3]))
        after = draw(st.sampled_from([1, 1, 0, 2, 3]))
        pads.append((before, max(after, least - before)))
    (top, bottom), (left, right) = pads
    out = (x.height + top + bottom - 2, x.width + left + right - 2)
    return Window((3, 3), (1, 1), (top, left, bottom, right), (1, 1), out)


@st.composite
def pool_axes(draw: Draw, size: int, dilated: bool) -> tuple[int, int, int, int, int]:
    """The same of a pool: every window keeps a tap inside the picture."""
    dilation = draw(st.integers(1, min(size, 3))) if dilated else 1
    kernel = draw(st.one_of(st.integers(1, 5), st.just(size)))
    reach = dilation * (kernel - 1)
    before = draw(st.integers(0, min(reach, 4)))
    lowest_after = max(0, reach + 1 - size - before)  # one window must fit
    after = draw(st.integers(lowest_after, max(lowest_after, min(reach, 4))))
    return kernel, draw(st.integers(1, 4)), before, after, dilation


def _window(axes: list[tuple[int, int, int, int, int]], out: tuple[int, int]) -> Window:
    (kh, sh, top, bottom, dh), (kw, sw, left, right, dw) = axes
    return Window((kh, kw), (sh, sw), (top, left, bottom, right), (dh, dw), out)


@st.composite
def conv_windows(draw: Draw, x: Tensor, keep_size: bool = False) -> Window:
    """Stride, dilation, asymmetric padding; windows may lie wholly in the padding."""
    axes = [draw(conv_axes(size, keep_size)) for size in (x.height, x.width)]
    out = [
        window_count(size, kernel, stride, before, after, dilation)
        for size, (kernel, stride, before, after, dilation) in zip(
            (x.height, x.width), axes, strict=True
        )
    ]
    return _window(axes, (out[0], out[1]))


@st.composite
def pool_windows(draw: Draw, x: Tensor, dilated: bool) -> Window:
    """Also in ceil mode, where the last window leaves the padded picture."""
    axes = [draw(pool_axes(size, dilated)) for size in (x.height, x.width)]
    ceil_mode = draw(st.booleans())
    out = []
    for size, (kernel, stride, before, after, dilation) in zip(
        (x.height, x.width), axes, strict=True
    ):
        count = window_count(size, kernel, stride, before, after, dilation)
        room = size + before + after - dilation * (kernel - 1) - 1
        part_left = room > (count - 1) * stride and count * stride < size + before
        out.append(count + 1 if ceil_mode and part_left else count)
    return _window(axes, (out[0], out[1]))


def draw_weights(rng: np.random.Generator, pattern: str, shape: tuple[int, ...]) -> Any:
    """int8 weights: spread out, or at the ends of the range."""
    if pattern == "narrow":
        return rng.integers(-2, 3, shape).astype(np.int8)
    if pattern == "signs":
        return rng.choice(np.array([-127, 0, 127], np.int8), shape)
    if pattern in ("lowest", "highest"):
        return np.full(shape, -127 if pattern == "lowest" else 127, np.int8)
    return rng.integers(-127, 128, shape).astype(np.int8)


def accumulator_range(weight: Any, zero_points: Any) -> tuple[Any, Any]:
    """Per output channel: the least and largest sum of (x - z) w; z broadcasts."""
    weight = weight.astype(np.int64)
    ends = np.stack([weight * -zero_points, weight * (255 - zero_points)])
    axes = (1, 2, 3)
    return ends.min(0).sum(axes), ends.max(0).sum(axes)


def draw_bias(rng: np.random.Generator, pattern: str, weight: Any, zero_points: Any) -> Any:
    """int32 biases: zero, about as large as the sums, or as large as int32 allows."""
    least, most = accumulator_range(weight, zero_points)
    if pattern == "lowest":
        return (INT32.min - least).astype(np.int32)
    if pattern == "highest":
        return (INT32.max - most).astype(np.int32)
    spread = 0 if pattern == "zero" else int(typical_sum(weight))
    return rng.integers(-spread, spread + 1, len(weight)).astype(np.int32)


def typical_sum(weight: Any) -> float:
    """About the standard deviation of an accumulator whose inputs are any bytes."""
    return 75.0 * float(np.sqrt((weight.astype(np.float64) ** 2).sum() / len(weight) + 1))


@dataclass
class Builder:
    """A program under construction; each method draws one operator and returns its output."""

    draw: Draw
    rng: np.random.Generator
    numbers: Numbers
    tensors: dict[str, Tensor] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)
    inputs: list[Io] = field(default_factory=list)
    outputs: list[Io] = field(default_factory=list)

    def tensor(self, like: Tensor, **changes: Any) -> Tensor:
        """A new tensor with its own memory, also if ``like`` is a view."""
        own = {"parent": None, "channel_offset": 0} | changes
        tensor = replace(like, name=f"t{len(self.tensors)}", **own)
        self.tensors[tensor.name] = tensor
        return tensor

    def name(self, kind: str) -> str:
        return f"{kind}{len(self.ops)}"

    def input(
        self, channels: st.SearchStrategy[int] = CHANNELS, sizes: st.SearchStrategy[int] = SIZES
    ) -> Tensor:
        """A float input of the caller and its quantized form."""
        float_tensor = self.tensor(
            Tensor("", "f32", self.draw(sizes), self.draw(sizes), self.draw(channels))
        )
        shape = (BATCH, float_tensor.channels, float_tensor.height, float_tensor.width)
        self.inputs.append(Io(float_tensor.name, shape))
        return self.quantize(float_tensor)

    def quantize(self, x: Tensor, peer: Tensor | None = None) -> Tensor:
        """In half of the cases the scale is nearly a power of two times that of ``peer``."""
        scale = _float32(self.draw(self.numbers.scales))
        if peer and self.draw(st.booleans()):
            scale = _float32(self._near_power_of_two(peer.scale, self.draw(st.integers(-2, 2))))
        zero_point = self.draw(self.numbers.zero_points)
        y = self.tensor(x, dtype="u8", scale=scale, zero_point=zero_point)
        self.ops.append(Quantize(self.name("quantize"), x.name, y.name))
        return y

    def output(self, x: Tensor) -> None:
        """Gives a tensor to the caller, dequantized if it is u8."""
        if x.dtype == "u8":
            y = self.tensor(x, dtype="f32", scale=0.0, zero_point=0)
            self.ops.append(Dequantize(self.name("dequantize"), x.name, y.name))
            x = y
        flat = (BATCH, x.channels * x.height * x.width)
        planar = (BATCH, x.channels, x.height, x.width)
        self.outputs.append(Io(x.name, self.draw(st.sampled_from([planar, flat]))))

    def conv2d(
        self,
        x: Tensor,
        *others: Tensor,
        head: bool = False,
        residual: Tensor | None = None,
        linear: bool = False,
        depthwise: bool = False,
        keep_size: bool = False,
        channels: int = 0,
        window: Window | None = None,
    ) -> Tensor:
        """A convolution whose output has ``residual``'s shape, if there is one.

        With ``others``, of the picture size of ``x``, it is dense or depthwise. ``channels`` is the
        number of output channels, if it is not 0. A given ``window`` goes with one group.
        """
        draw = self.draw
        given = window is not None
        xs = (x, *others)
        inputs = sum(tensor.channels for tensor in xs)
        if linear:
            window = Window((1, 1), (1, 1), (0, 0, 0, 0), (1, 1), (x.height, x.width))
        elif window is None:
            window = draw(conv_windows(x, keep_size=keep_size or residual is not None))
        channels = residual.channels if residual else channels
        is_fixed = channels > 0
        channels = channels or draw(CHANNELS)
        if depthwise:
            groups = inputs
        elif others or given:
            groups = 1
        else:
            groups = draw(st.sampled_from(_group_choices(inputs, channels, is_fixed)))
        if depthwise and others:
            channels = inputs
        elif not is_fixed and groups > 1:
            channels = groups * draw(st.sampled_from([1, 1, 2, 3, max(1, 70 // groups)]))
        shape = (channels, *window.kernel, inputs // groups)
        weight = draw_weights(self.rng, draw(self.numbers.weights), shape)
        zero_points: Any = np.repeat([t.zero_point for t in xs], [t.channels for t in xs])
        if groups == inputs == channels:
            zero_points = zero_points.reshape(-1, 1, 1, 1)
        elif groups > 1:
            zero_points = x.zero_point
        scales = draw(st.sampled_from([1, channels]))
        unit = draw(self.numbers.scales)
        factors = 2.0 ** self.rng.integers(-1, 2, scales)
        if draw(st.booleans()):
            factors *= self.rng.uniform(0.7, 1.4, scales)
        weight_scale = (unit * factors).astype(np.float32)
        y = self.tensor(x, height=window.out[0], width=window.out[1], channels=channels)
        op = Conv2d(
            name=self.name("conv"),
            x=tuple(t.name for t in xs) if others else x.name,
            y=y.name,
            weight=weight,
            bias=draw_bias(self.rng, draw(self.numbers.biases), weight, zero_points),
            weight_scale=weight_scale,
            stride=window.stride,
            pads=window.pads,
            dilation=window.dilation,
            groups=groups,
            residual=residual.name if residual else None,
        )
        if head:
            step = x.scale * weight_scale.astype(np.float64)
            bias = (op.bias * step).astype(np.float32)
            op = replace(op, bias=bias)
            self.tensors[y.name] = replace(y, dtype="f32", scale=0.0, zero_point=0)
        else:
            natural = max(x.scale * unit * typical_sum(weight) / 60, 2.0**-120)
            if residual:
                natural = max(natural, residual.scale * draw(st.sampled_from([1.0, 1.0, 2.0**-50])))
            self.tensors[y.name] = self._rescaled(y, natural, max(x.scale * unit, 2.0**-120))
            lo, hi = self._clamp(self.tensors[y.name].zero_point)
            op = replace(op, lo=lo, hi=hi)
        self.ops.append(op)
        return self.tensors[y.name]

    def max_pool2d(self, x: Tensor) -> Tensor:
        window = self.draw(pool_windows(x, dilated=True))
        y = self.tensor(x, height=window.out[0], width=window.out[1])
        self.ops.append(
            MaxPool2d(
                self.name("max_pool"),
                x.name,
                y.name,
                window.kernel,
                window.stride,
                window.pads,
                window.dilation,
            )
        )
        return y

    def avg_pool2d(self, x: Tensor, *, everything: bool = False) -> Tensor:
        """``everything`` is a global pool."""
        if everything:
            window = Window((x.height, x.width), (1, 1), (0, 0, 0, 0), (1, 1), (1, 1))
        else:
            window = self.draw(pool_windows(x, dilated=False))
        y = self.tensor(x, height=window.out[0], width=window.out[1])
        divisor = self.draw(st.sampled_from([0, 0, 0, 1, 3, window.kernel[0] * window.kernel[1]]))
        self.tensors[y.name] = self._rescaled(y, x.scale, x.scale)
        lo, hi = self._clamp(self.tensors[y.name].zero_point)
        self.ops.append(
            AvgPool2d(
                self.name("avg_pool"),
                x.name,
                y.name,
                window.kernel,
                window.stride,
                window.pads,
                count_include_pad=self.draw(st.booleans()),
                divisor=divisor,
                lo=lo,
                hi=hi,
            )
        )
        return self.tensors[y.name]

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        y = self.tensor(a)
        self.tensors[y.name] = self._rescaled(y, max(a.scale, b.scale), a.scale)
        lo, hi = self._clamp(self.tensors[y.name].zero_point)
        self.ops.append(Add(self.name("add"), a.name, b.name, y.name, lo, hi))
        return self.tensors[y.name]

    def _rescaled(self, tensor: Tensor, natural: float, unit: float) -> Tensor:
        """Draws a scale near ``natural``, or one whose ratio to ``unit`` makes near ties."""
        scale = natural * self.draw(self.numbers.stretches)
        if self.draw(st.booleans()):
            scale = self._near_power_of_two(unit, math.log2(scale / unit))
        # So that the multipliers and biases of a head stay finite.
        scale = _float32(min(max(scale, 2.0**-100), 2.0**40))
        return replace(tensor, scale=scale, zero_point=self.draw(self.numbers.zero_points))

    def _near_power_of_two(self, unit: float, exponent: float) -> float:
        """``unit`` times a power of two, a few float32 steps off.

        Many results then lie so close to k + 1/2 that the order of float operations or a fused
        multiply-add would change what they are rounded to.
        """
        steps = self.draw(st.integers(-3, 3))
        return _float32(unit) * 2.0 ** round(exponent) * (1 + steps * 2.0**-23)

    def _clamp(self, zero_point: int) -> tuple[int, int]:
        lo = self.draw(self.numbers.lowest)
        lo = zero_point if lo is None else lo
        return lo, max(lo, self.draw(self.numbers.highest))

    def program(self) -> Program:
        return Program(self.tensors, tuple(self.ops), tuple(self.inputs), tuple(self.outputs))


def _float32(value: float) -> float:
    return float(np.float32(value))


def _group_choices(inputs: int, outputs: int, keep_outputs: bool) -> list[int]:
    """One half are 1."""
    groups = [g for g in range(1, inputs + 1) if inputs % g == 0]
    if keep_outputs:
        groups = [g for g in groups if outputs % g == 0]
    return [1] * len(groups) + groups


SEEDS = st.integers(0, 2**32 - 1)
SINGLE_OPS = (
    "conv2d",
    "depthwise",
    "head",
    "linear",
    "residual",
    "winograd",
    "max_pool2d",
    "avg_pool2d",
    "add",
    "convert",
)


@st.composite
def single_op_programs(draw: Draw, kind: str) -> Program:
    """Quantize, one operator of ``kind`` (of :data:`SINGLE_OPS`), dequantize."""
    build = Builder(draw, np.random.default_rng(draw(SEEDS)), draw(NUMBERS))
    if kind == "linear":
        x = build.input(st.one_of(CHANNELS, st.integers(1, 300)), st.just(1))
        build.output(build.conv2d(x, linear=True, head=draw(st.booleans())))
        return build.program()
    x = build.input()
    if kind in ("conv2d", "head", "depthwise"):
        y = build.conv2d(x, head=kind == "head", depthwise=kind == "depthwise")
    elif kind == "residual":
        residual = x if draw(st.booleans()) else _second_input(build, x, draw(CHANNELS))
        y = build.conv2d(x, residual=residual)
    elif kind == "winograd":
        window = draw(winograd_windows(x))
        residual = None
        if window.out == (x.height, x.width) and draw(st.booleans()):
            residual = _second_input(build, x, draw(CHANNELS))
        y = build.conv2d(x, residual=residual, window=window)
    elif kind == "max_pool2d":
        y = build.max_pool2d(x)
    elif kind == "avg_pool2d":
        y = build.avg_pool2d(x, everything=draw(st.booleans()))
    elif kind == "add":
        y = build.add(x, x if draw(st.booleans()) else _second_input(build, x, x.channels))
    else:
        y = x
    build.output(y)
    return build.program()


def _second_input(build: Builder, like: Tensor, channels: int) -> Tensor:
    """Another input with the picture size of ``like``."""
    x = build.tensor(like, dtype="f32", channels=channels, scale=0.0, zero_point=0)
    build.inputs.append(Io(x.name, (BATCH, channels, x.height, x.width)))
    return build.quantize(x, peer=like)


@st.composite
def chains(draw: Draw) -> Program:
    """Several operators with residuals, branches, and one or more outputs."""
    build = Builder(draw, np.random.default_rng(draw(SEEDS)), draw(NUMBERS))
    x = build.input()
    seen = [x]
    for _ in range(draw(st.integers(1, 6))):
        x = draw(st.sampled_from([x, x, *seen]))
        peers = [t for t in seen if _shape(t) == _shape(x)]
        pictures = [t for t in seen if (t.height, t.width) == (x.height, x.width)]
        kind = draw(st.sampled_from(["conv2d", "residual", "max_pool2d", "avg_pool2d", "add"]))
        if kind == "conv2d":
            x = build.conv2d(x)
        elif kind == "residual":
            x = build.conv2d(x, residual=draw(st.sampled_from(pictures)))
        elif kind == "max_pool2d":
            x = build.max_pool2d(x)
        elif kind == "avg_pool2d":
            x = build.avg_pool2d(x)
        else:
            x = build.add(x, draw(st.sampled_from(peers)))
        seen.append(x)
    if draw(st.booleans()):
        build.output(build.conv2d(build.avg_pool2d(x, everything=True), head=True, linear=True))
    for extra in draw(st.lists(st.sampled_from(seen), max_size=2, unique_by=lambda t: t.name)):
        build.output(extra)
    if not build.outputs:
        build.output(x)
    return build.program()


def _shape(tensor: Tensor) -> tuple[int, int, int]:
    return tensor.height, tensor.width, tensor.channels


def programs() -> st.SearchStrategy[Program]:
    """Any of the programs above."""
    return st.one_of(chains(), *(single_op_programs(kind) for kind in SINGLE_OPS))


SPECIAL_FLOATS = np.array(
    [np.nan, np.inf, -np.inf, 0.0, -0.0, 3.4e38, -3.4e38, 1e-45, -1e-45, 1.5, -2.5, 2.0**24 + 2],
    np.float32,
)


@st.composite
def inputs_for(draw: Draw, program: Program, batch: int) -> list[Any]:
    """float32 inputs that quantize to all values, to the ends, to ties, or that are special."""
    rng = np.random.default_rng(draw(SEEDS))
    quantizers = {op.x: program.tensors[op.y] for op in program.ops if isinstance(op, Quantize)}
    arrays = []
    for io in program.inputs:
        shape = (batch, *io.shape[1:])
        tensor = quantizers[io.tensor]
        pattern = draw(st.sampled_from(["bytes"] * 5 + ["ties", "ends", "lowest", "highest"]))
        if pattern == "bytes":
            steps = rng.integers(0, 256, shape) - float(tensor.zero_point)
        elif pattern == "ties":
            steps = rng.integers(-300, 300, shape) + 0.5
        else:
            ends = {"ends": [0, 255], "lowest": [0], "highest": [255]}[pattern]
            steps = rng.choice(ends, shape) - float(tensor.zero_point)
        array = (steps * tensor.scale).astype(np.float32)
        if draw(st.integers(0, 4)) == 0:
            special = rng.random(shape) < 0.2
            array[special] = rng.choice(SPECIAL_FLOATS, int(special.sum()))
        arrays.append(array)
    return arrays
