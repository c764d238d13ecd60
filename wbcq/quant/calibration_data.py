"""Calibration data: the batches of any loader as checked model inputs.

How a batch is read. A model with n inputs (the parameters of ``forward`` without a default; with
``*args``, the leading float entries of rank 2 or more) takes from each batch of the loader

- a tensor or numpy array: the one input;
- a tuple or list: its first n entries; what follows (labels, file names) is ignored. If the first
  entry is itself a tuple, list or dict, that one holds the inputs: ``((a, b), label)``;
- a dict: the entries with the names of ``forward``'s parameters if all are there, otherwise its
  first n values.
"""

from __future__ import annotations

import inspect
import itertools
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from wbcq.errors import CalibrationError

__all__ = ["CalibrationData"]

Inputs: TypeAlias = tuple[Tensor, ...]


class CalibrationData:
    """The batches of a loader as checked model inputs; read once, as generators are.

    Args:
        loader: Any iterable of batches, see the module's documentation.
        model: Whose ``forward`` tells how many inputs there are and what they are called.

    Attributes:
        first: The inputs of the first batch, float32; iteration starts with them.

    Raises:
        CalibrationError: The loader is empty or no iterable, or its first batch is unusable.
    """

    def __init__(self, loader: Iterable[Any], model: nn.Module) -> None:
        if isinstance(loader, (Tensor, np.ndarray, str, bytes, Mapping)) or not isinstance(
            loader, Iterable
        ):
            raise CalibrationError(
                f"calib_loader is a {type(loader).__name__}, must be an iterable of batches, for "
                "example a DataLoader or [batch]"
            )
        self._length = operator.length_hint(loader)
        self._names, self._variadic = _input_names(model)
        self._takes_sequences = _takes_sequences(model)
        self._batches = iter(loader)
        try:
            batch = next(self._batches)
        except StopIteration:
            raise CalibrationError(
                "calib_loader is empty: it gave no batch. Remedy: pass a few hundred pictures; a "
                "generator that was read before must be made anew"
            ) from None
        if self._variadic:
            entries = _entries(batch, self._names, 0)
            count = sum(1 for _ in itertools.takewhile(_is_float_input, entries))
            self._names = tuple(f"input{i}" for i in range(max(1, count)))
        self.first: Inputs = self._inputs(batch, 0)

    def __len__(self) -> int:
        """Number of batches; 0 if the loader does not tell."""
        return self._length

    def __iter__(self) -> Iterator[Inputs]:
        yield self.first
        for index, batch in enumerate(self._batches, start=1):
            inputs = self._inputs(batch, index)
            for name, x, example in zip(self._names, inputs, self.first, strict=True):
                if x.shape[1:] != example.shape[1:]:
                    raise CalibrationError(
                        f"batch {index}: input {name!r} has shape {list(x.shape)}, the first batch "
                        f"had {list(example.shape)}. Remedy: resize or crop all pictures to one "
                        "size"
                    )
            yield inputs

    def _inputs(self, batch: object, index: int) -> Inputs:
        entries = _entries(batch, self._names, index)
        if len(entries) < len(self._names):
            raise CalibrationError(
                f"batch {index} has {len(entries)} entries, the model takes {len(self._names)} "
                f"inputs ({', '.join(self._names)}). Remedy: give them first, before labels"
            )
        pairs = zip(self._names, entries, strict=False)
        ranks = (2, 3, 4) if self._takes_sequences else (2, 4)
        inputs = tuple(
            _checked_input(x, f"batch {index}: input {name!r}", ranks) for name, x in pairs
        )
        sizes = [x.shape[0] for x in inputs]
        if len(set(sizes)) > 1:
            raise CalibrationError(
                f"batch {index}: inputs {', '.join(self._names)} have {sizes} pictures, must be "
                "equally many"
            )
        return inputs


def _input_names(model: nn.Module) -> tuple[tuple[str, ...], bool]:
    """Names of forward's inputs, and whether ``*args`` leaves their number to the data."""
    parameters = list(inspect.signature(model.forward).parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = tuple(p.name for p in positional if p.default is p.empty)
    if required:
        return required, False
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return (), True
    return tuple(p.name for p in positional[:1]), False


def _entries(batch: object, names: Sequence[str], index: int) -> list[object]:
    match batch:
        case Tensor() | np.ndarray():
            return [batch]
        case Mapping():
            if names and all(name in batch for name in names):
                return [batch[name] for name in names]
            return list(batch.values())
        case tuple() | list():
            if batch and isinstance(batch[0], (tuple, list, Mapping)):
                return _entries(batch[0], names, index)
            return list(batch)
    raise CalibrationError(
        f"batch {index} is a {type(batch).__name__}, must be a tensor, a numpy array, or a tuple, "
        "list or dict of them"
    )


def _is_float_input(x: object) -> bool:
    if isinstance(x, Tensor):
        return x.is_floating_point() and x.dim() >= 2
    return isinstance(x, np.ndarray) and x.dtype.kind == "f" and x.ndim >= 2


def _takes_sequences(model: nn.Module) -> bool:
    """True if three dimensions are N, C, L; elsewhere they are a picture without a batch."""
    kinds = {type(module).__name__ for module in model.modules()}
    return not kinds.isdisjoint({"Conv1d", "ConvTranspose1d"}) and "Conv2d" not in kinds


def _checked_input(x: object, what: str, ranks: tuple[int, ...]) -> Tensor:
    if isinstance(x, np.ndarray):
        if x.dtype.kind not in "fiub":
            raise CalibrationError(f"{what} is an array of {x.dtype}, must be float32")
        x = torch.from_numpy(np.ascontiguousarray(x))
    if not isinstance(x, Tensor):
        raise CalibrationError(f"{what} is a {type(x).__name__}, must be a tensor or numpy array")
    if x.dtype == torch.uint8:
        raise CalibrationError(
            f"{what} is uint8, must be float32. Remedy: x.float() / 255, and the mean and standard "
            "deviation that the model was trained with"
        )
    if x.dtype != torch.float32:
        raise CalibrationError(
            f"{what} is {str(x.dtype).removeprefix('torch.')}, must be float32. Remedy: x.float()"
        )
    if x.dim() not in ranks or 0 in x.shape:
        remedy = ". Remedy: x.unsqueeze(0) adds the batch" if x.dim() == 3 else ""
        raise CalibrationError(
            f"{what} has shape {list(x.shape)}, must be [N, C, H, W] or [N, C] with at least one "
            f"picture{remedy}"
        )
    x = x.detach().cpu()
    if not bool(torch.isfinite(x).all()):
        nans, infs = int(torch.isnan(x).sum()), int(torch.isinf(x).sum())
        raise CalibrationError(
            f"{what} holds {nans} NaN and {infs} infinite values. Remedy: look at the pictures "
            "and their normalization"
        )
    return x
