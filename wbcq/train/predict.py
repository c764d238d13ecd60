"""Logits and decisions of any classifier over a set of pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from wbcq.data.pictures import ArrayPictures, Progress

__all__ = ["batches", "decisions", "predict"]


def batches(pictures: ArrayPictures, batch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches in order: float32 [N, C, H, W] in 0..1, contiguous, and int64 [N]."""
    for start in range(0, len(pictures), batch):
        pixels = torch.from_numpy(pictures.pixels[start : start + batch]).permute(0, 3, 1, 2)
        labels = torch.from_numpy(pictures.labels[start : start + batch])
        yield pixels.to(torch.float32).div(255).contiguous(), labels


def predict(
    model: Callable[[torch.Tensor], Any],
    pictures: ArrayPictures,
    *,
    batch: int = 32,
    progress: Progress | None = None,
) -> npt.NDArray[np.float32]:
    """Logits float32 [N, classes] of a module (in eval mode) or a quantized model.

    Raises:
        ValueError: The model returns something else than one row of finite numbers per picture.
    """
    rows: list[npt.NDArray[np.float32]] = []
    done = 0
    with torch.inference_mode():
        for pixels, _ in batches(pictures, batch):
            logits = torch.as_tensor(model(pixels)).float().numpy()
            if logits.ndim != 2 or len(logits) != len(pixels) or not np.isfinite(logits).all():
                raise ValueError(
                    f"the model maps {tuple(pixels.shape)} to {logits.shape}; a classifier "
                    "returns finite logits [N, classes]"
                )
            rows.append(logits)
            done += len(logits)
            if progress is not None:
                progress(done, len(pictures))
    return np.concatenate(rows)


def decisions(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """The class of the largest logit, int64 [N]; the lowest index among equals."""
    chosen: npt.NDArray[np.int64] = np.argmax(logits, axis=1).astype(np.int64)
    return chosen
