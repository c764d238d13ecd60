"""Logits and decisions of any classifier over a set of pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from wbcq.data.pictures import ArrayPictures, Progress
from wbcq.train.tasks import class_scores, inputs_of

__all__ = ["batches", "decisions", "predict"]


def batches(pictures: ArrayPictures, batch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches in order: float32 [N, C, H, W] in 0..1, contiguous, and int64 [N]."""
    for start in range(0, len(pictures), batch):
        pixels = torch.from_numpy(pictures.pixels[start : start + batch]).permute(0, 3, 1, 2)
        labels = torch.from_numpy(pictures.labels[start : start + batch])
        yield pixels.to(torch.float32).div(255).contiguous(), labels


def predict(
    model: Callable[..., Any],
    pictures: ArrayPictures,
    *,
    batch: int = 32,
    progress: Progress | None = None,
) -> npt.NDArray[np.float32]:
    """Scores float32 [N, classes] of a module (in eval mode) or a quantized model.

    Scores are logits, and for several heads the logarithm of their mean probability; the softmax of
    either gives probabilities. A model of several pictures gets the channels of
    ``pictures`` as many times, in order (see :func:`wbcq.train.inputs_of`).

    Raises:
        ValueError: The model returns something else than one row of finite numbers per picture, or
            takes other channels.
    """
    rows: list[npt.NDArray[np.float32]] = []
    done = 0
    device = _home(model)
    with torch.inference_mode():
        for pixels, _ in batches(pictures, batch):
            scores = class_scores(model(*inputs_of(model, pixels.to(device)))).cpu().numpy()
            if scores.ndim != 2 or len(scores) != len(pixels) or not np.isfinite(scores).all():
                raise ValueError(
                    f"the model maps {tuple(pixels.shape)} to {scores.shape}; a classifier "
                    "returns finite logits [N, classes]"
                )
            rows.append(scores)
            done += len(scores)
            if progress is not None:
                progress(done, len(pictures))
    return np.concatenate(rows)


def _home(model: Any) -> torch.device:
    parameters = model.parameters() if isinstance(model, torch.nn.Module) else iter(())
    return next((p.device for p in parameters), torch.device("cpu"))


def decisions(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """The class of the largest logit, int64 [N]; the lowest index among equals."""
    chosen: npt.NDArray[np.int64] = np.argmax(logits, axis=1).astype(np.int64)
    return chosen
