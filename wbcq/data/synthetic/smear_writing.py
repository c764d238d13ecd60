"""Synthetic smears as files: pictures and boxes in the layout of YOLO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wbcq.data.synthetic.optics import BRIGHT_FIELD
from wbcq.data.synthetic.smears import BLOOD, OBJECTS, PIXEL_UM, Smear, render_smear
from wbcq.data.synthetic.writing import claim, in_processes
from wbcq.report.files import replacing, write_text
from wbcq.report.reporter import Reporter

__all__ = ["SmearSet", "write_smears"]


@dataclass(frozen=True)
class SmearSet:
    """Which pictures; arguments are those of :func:`wbcq.data.synthetic.smears.render_smear`.

    Attributes:
        count: Pictures.
        first: Number of the first: sets of one seed whose ranges do not overlap share no picture.
    """

    count: int
    width: int = 1024
    height: int = 1024
    seed: int = 0
    difficulty: float = 0.5
    pixel_um: float = PIXEL_UM
    shares: tuple[float, ...] = BLOOD
    modality: str = BRIGHT_FIELD[0]
    first: int = 0

    def __post_init__(self) -> None:
        if self.count < 1 or self.first < 0:
            raise ValueError(f"{self.count} pictures from number {self.first}; use 1 or more, 0 on")

    def render(self, index: int) -> Smear:
        """The picture of a number below ``count``."""
        return render_smear(
            self.width,
            self.height,
            seed=self.seed,
            index=self.first + index,
            shares=self.shares,
            difficulty=self.difficulty,
            pixel_um=self.pixel_um,
            modality=self.modality,
        )


@dataclass(frozen=True)
class _Task:
    smears: SmearSet
    out: Path
    index: int


def write_smears(
    smears: SmearSet, out: str | Path, *, processes: int | None = None, reporter: Reporter
) -> None:
    """Renders smears: ``images/NAME.png``, ``labels/NAME.txt`` and ``classes.txt`` below a folder.

    A line of a text file is a cell: its class (a line of ``classes.txt``, from 0), then middle x
    and y, width and height as shares of the picture. Interrupted, the same call goes on.

    Args:
        smears: The pictures.
        out: A folder; made if missing.
        processes: How many render; None for one per core.
        reporter: Told how far it is.

    Raises:
        DatasetError: The folder holds pictures of other settings.
        OSError: It cannot be written.
    """
    out = Path(out)
    settings = {name: getattr(smears, name) for name in SmearSet.__dataclass_fields__}
    claim(out, {**settings, "shares": list(smears.shares), "objects": list(OBJECTS)})
    write_text(out / "classes.txt", "\n".join(OBJECTS) + "\n")
    tasks = [_Task(smears, out, k) for k in range(smears.count)]
    missing = [task for task in tasks if not _picture(task).is_file()]
    done = len(tasks) - len(missing)
    if done:
        reporter.note(f"{out}: {done} of {len(tasks)} pictures are there already")
    with reporter.stage("Rendering smears") as stage:
        for count in in_processes(_write, missing, processes):
            done += count
            stage(done, len(tasks))


def _picture(task: _Task) -> Path:
    return task.out / "images" / f"smear-{task.smears.first + task.index:05d}.png"


def _write(task: _Task) -> int:
    from PIL import Image

    smear = task.smears.render(task.index)
    path = _picture(task)
    write_text(task.out / "labels" / f"{path.stem}.txt", "".join(_lines(smear)))
    # Last, as it tells that both are there. Noise does not compress: the fastest level will do.
    with replacing(path) as temporary:
        pixels = smear.picture if smear.picture.shape[2] == 3 else smear.picture[..., 0]
        Image.fromarray(pixels).save(temporary, compress_level=1)
    return 1


def _lines(smear: Smear) -> Sequence[str]:
    height, width = smear.picture.shape[:2]
    lines = []
    for (x1, y1, x2, y2), label in zip(smear.boxes.tolist(), smear.labels.tolist(), strict=True):
        middle = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height
        size = (x2 - x1) / width, (y2 - y1) / height
        lines.append(" ".join([str(label), *(f"{v:.8f}" for v in (*middle, *size))]) + "\n")
    return lines
