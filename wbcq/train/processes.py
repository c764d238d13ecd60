"""Several processes that train one network, as ``torchrun`` starts them."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

__all__ = ["Processes", "process_group"]

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: Of this process; 0 decides and writes.
        count: Of all.
    """

    rank: int = 0
    count: int = 1

    @staticmethod
    def current() -> Processes:
        """Those of torch's process group; a single one if there is none."""
        if not (dist.is_available() and dist.is_initialized()):
            return Processes()
        return Processes(dist.get_rank(), dist.get_world_size())

    @property
    def first(self) -> bool:
        """Whether this process decides and writes."""
        return self.rank == 0

    def from_first(self, make: Callable[[], T]) -> T:
        """What the first process makes, in all of them; its exception is raised in all of them."""
        if self.count == 1:
            return make()
        answer: list[Any] = [None, None]
        if self.first:
            try:
                answer[0] = make()
            except Exception as error:
                answer[1] = error
        dist.broadcast_object_list(answer, src=0)
        if answer[1] is not None:
            raise answer[1]
        made: T = answer[0]
        return made

    def synchronize(self, model: nn.Module) -> None:
        """Gives all processes the first one's weights and statistics."""
        if self.count > 1:
            with torch.no_grad():
                for tensor in model.state_dict().values():
                    dist.broadcast(tensor, src=0)


@contextmanager
def process_group() -> Iterator[Processes]:
    """Joins the processes that ``torchrun`` started; nothing happens in a process of its own.

    GPUs talk through NCCL, each process having one, CPUs through Gloo.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield Processes.current()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl")
    else:
        dist.init_process_group("gloo")
    try:
        yield Processes.current()
    finally:
        # A replica that outlives the group can abort the process at its end (PyTorch 2.13, Gloo).
        gc.collect()
        dist.destroy_process_group()
