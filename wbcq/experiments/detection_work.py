"""What the detection experiments share: pictures, the trained detector, its forms, timings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import wbcq
from wbcq.data.synthetic import CLASSES
from wbcq.data.synthetic.smear_writing import SmearSet
from wbcq.demo.timing import quietest_ms
from wbcq.detection.augment import TileConfig, load_fields
from wbcq.detection.data import FieldSets, open_fields, synthetic_fields
from wbcq.detection.evaluate import HeadModel, Layout, as_arrays
from wbcq.detection.job import DetectJob, anchors_of, build
from wbcq.detection.quantize import calibration_tiles, quantize_detector
from wbcq.detection.train import DetectConfig, DetectEpoch, set_anchors, train_detector
from wbcq.experiments.detection_forms import (
    PEERS,
    has_onnx_runtime,
    judge_detector,
    metrics_record,
    onnx_session,
    quantize_with_onnx_runtime,
)
from wbcq.experiments.pytorch_int8 import engine_name, freeze, quantize_with_pytorch
from wbcq.experiments.settings import Settings, fingerprint
from wbcq.experiments.store import Store
from wbcq.experiments.training import checkpoint_path
from wbcq.experiments.units import Unit
from wbcq.report.files import replacing
from wbcq.train.hardware import native_precision

__all__ = [
    "BATCH",
    "FP32",
    "OURS",
    "TRAINING",
    "Scale",
    "fields_argument",
    "form_key",
    "form_units",
    "forms",
    "in_turns",
    "load_sets",
    "pytorch_call",
    "scale_of",
    "timing_unit",
    "trained_detector",
    "training_unit",
]

BATCH = 2
"""Pictures in a call, as in the study."""

FP32 = "pytorch"
"""PyTorch's own FP32 among the times."""

OURS = ("float", "ptq-per-tensor", "ptq-per-channel")

TRAINING = "detection/training"


@dataclass(frozen=True)
class Scale:
    """How large the experiment is; everything that shapes the training.

    Attributes:
        arch: ``"yolov3"``, or ``"yolov3_tiny"`` where there is no GPU.
        width: Of the latter.
        size: Height and width that the detector looks at.
        tile: Of training tiles.
        epochs, tiles: Of the training.
        smears: Synthetic pictures of train, val and test.
        field: Their height and width.
        pixel_um: Side of their pixels.
    """

    arch: str
    width: float
    size: int
    tile: int
    epochs: int
    tiles: int
    smears: tuple[int, int, int]
    field: int
    pixel_um: float


def scale_of(settings: Settings) -> Scale:
    """YOLOv3 at 512 pixels where there is a GPU, otherwise YOLOv3-tiny; small ones for --quick."""
    if settings.brief:
        epochs = 2 * settings.epochs
        return Scale("yolov3_tiny", 0.25, 256, 192, epochs, 400, (60, 8, 24), 288, 0.25)
    arch = settings.detector or ("yolov3" if torch.cuda.is_available() else "yolov3_tiny")
    return Scale(arch, 1.0, 512, 416, settings.epochs, 2000, (300, 30, 60), 640, 0.125)


def fields_argument(settings: Settings) -> dict[str, Any]:
    """The pictures as an argument of units, for :func:`load_sets`."""
    scale = scale_of(settings)
    if settings.fields is None:
        smears = {"counts": list(scale.smears), "size": scale.field, "pixel_um": scale.pixel_um}
        return {"data": None, "seed": settings.seed, "smears": smears}
    data = str(settings.fields.resolve())
    return {"data": data, "seed": settings.seed, "files": fingerprint(data)}


def load_sets(fields: Mapping[str, Any]) -> FieldSets:
    """The pictures that :func:`fields_argument` described."""
    return _loaded(json.dumps(fields))


@lru_cache(maxsize=1)
def _loaded(record: str) -> FieldSets:
    fields = json.loads(record)
    if fields["data"] is not None:
        sets = open_fields(fields["data"], seed=fields["seed"])
        white = [name for name in sets.train.classes if name.lower() in CLASSES]
        return sets.with_classes(CLASSES) if len(white) == len(CLASSES) else sets
    smears = fields["smears"]
    one = SmearSet(
        1,
        smears["size"],
        smears["size"],
        seed=fields["seed"],
        pixel_um=smears["pixel_um"],
        shares=(0.2,) * len(CLASSES),
    )
    return synthetic_fields(one, tuple(smears["counts"])).with_classes(CLASSES)


# The training.


def training_unit(settings: Settings) -> Unit:
    """Trains the detector in FP32 and tests it."""
    arguments = {
        "fields": fields_argument(settings),
        "scale": {**asdict(scale_of(settings)), "smears": list(scale_of(settings).smears)},
        "seed": settings.seed,
    }
    return Unit(TRAINING, train, arguments)


def _config(scale: Mapping[str, Any], seed: int) -> DetectConfig:
    return DetectConfig(
        epochs=scale["epochs"],
        tiles=scale["tiles"],
        rate=3e-3,
        tile=TileConfig(size=scale["tile"], zoom=(0.7, 1.4), light=0.1),
        precision="mixed" if torch.cuda.is_available() else native_precision(),
        device="auto",
        seed=seed,
    )


def _job(scale: Mapping[str, Any]) -> DetectJob:
    return DetectJob(scale["arch"], Path(), scale["width"], size=scale["size"])


def train(
    store: Store, *, fields: Mapping[str, Any], scale: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """Trains, keeps the epoch that is best on the validation part, and tests it."""
    sets, config = load_sets(fields), _config(scale, seed)
    torch.manual_seed(seed)
    loaded = load_fields(sets.train)
    model = build(_job(scale), len(sets.train.classes))
    layout = anchors_of(model, loaded, config, sets.train.classes, scale["size"])
    set_anchors(model, layout.anchors)
    note = ""

    def on_epoch(index: int, epoch: DetectEpoch) -> None:
        nonlocal note
        note = f"epoch {index + 1} of {config.epochs}: validation mAP {epoch.map50:.3f}"

    checkpoint = checkpoint_path(store, TRAINING, fields, scale, seed)
    result = train_detector(
        model,
        loaded,
        sets.val,
        layout,
        config,
        checkpoint=checkpoint,
        on_step=lambda done, total: store.progress(done, total, note),
        on_epoch=on_epoch,
    )
    with replacing(store.path(TRAINING, ".pt")) as temporary, temporary.open("wb") as file:
        torch.save(model.state_dict(), file)
    checkpoint.unlink(missing_ok=True)
    return {
        **metrics_record(judge_detector(as_arrays(model), layout, sets.test)),
        "arch": scale["arch"],
        "scale": dict(scale),
        "layout": layout.to_metadata(),
        "best_epoch": result.best_epoch + 1,
        "history": [vars(epoch) for epoch in result.history],
        "parameters": sum(p.numel() for p in model.parameters()),
        "bytes": store.path(TRAINING, ".pt").stat().st_size,
        "pictures": {part: len(getattr(sets, part)) for part in ("train", "val", "test")},
        "source": sets.description,
        "notes": list(sets.notes),
        "files": [".pt"],
    }


def trained_detector(store: Store) -> tuple[nn.Module, Layout]:
    """The trained network in evaluation mode, and what its heads mean."""
    result = store.result(TRAINING)
    record = result["layout"]
    anchors = tuple(tuple((w, h) for w, h in head) for head in record["anchors"])
    layout = Layout(tuple(record["classes"]), anchors, tuple(record["strides"]), record["size"])
    model = build(_job(result["scale"]), len(layout.classes))
    state = torch.load(store.path(TRAINING, ".pt"), map_location="cpu", weights_only=True)
    model.load_state_dict(state)
    return model.eval(), layout


# Its forms.


def form_key(form: str) -> str:
    """The unit that makes and tests a form."""
    return f"detection/{form}"


def forms() -> tuple[str, ...]:
    """All that can be made here: ONNX Runtime's where it is installed."""
    peers = [peer for peer in PEERS if not peer.startswith("onnx") or has_onnx_runtime()]
    return (*OURS, *peers)


def form_units(settings: Settings) -> list[Unit]:
    """The training, and each form of the network."""
    arguments = {"fields": fields_argument(settings), "calibration": settings.calibration}
    return [
        training_unit(settings),
        *(
            Unit(form_key(form), make_form, {"form": form, **arguments}, needs=(TRAINING,))
            for form in forms()
        ),
    ]


def make_form(
    store: Store, *, form: str, fields: Mapping[str, Any], calibration: int
) -> dict[str, Any]:
    """Makes a form of the trained detector, keeps its file, and tests it."""
    sets = load_sets(fields)
    model, layout = trained_detector(store)
    batches = calibration_tiles(load_fields(sets.train), layout.size, calibration)
    run, suffix = _made(store, form, model, layout, batches)
    found = judge_detector(run, layout, sets.test, store.progress)
    path = store.path(form_key(form), suffix)
    isa = {"isa": run.isa} if isinstance(run, wbcq.QuantizedModel) else {}
    return {**metrics_record(found), **isa, "bytes": path.stat().st_size, "files": [suffix]}


def _made(
    store: Store, form: str, model: nn.Module, layout: Layout, batches: list[Tensor]
) -> tuple[HeadModel, str]:
    path = partial(store.path, form_key(form))
    if form in OURS:
        if form == "float":
            quantized = wbcq.compile_float(model, (batches[0][:1],))
        else:
            weights = form.removeprefix("ptq-").replace("-", "_")
            quantized = quantize_detector(model, batches, layout, weights=weights)
        path(".wbcq").parent.mkdir(parents=True, exist_ok=True)
        quantized.save(path(".wbcq"))
        return quantized, ".wbcq"
    if form.startswith("onnx"):
        quantize_with_onnx_runtime(model, batches, path(".onnx"))
        return onnx_session(path(".onnx")), ".onnx"
    torch.backends.quantized.engine = engine_name()
    per_channel = form.endswith("channel")
    script = quantize_with_pytorch(model, [(b,) for b in batches], per_channel=per_channel)
    with replacing(path(".ts")) as temporary:
        script.save(str(temporary))
    return as_arrays(script), ".ts"


# Timings.


def timing_unit(settings: Settings) -> Unit:
    """Times all forms in turns."""
    listed = forms()
    arguments = {
        "forms": list(listed),
        "threads": settings.threads,
        "seconds": settings.timing_seconds,
    }
    needs = (TRAINING, *(form_key(form) for form in listed))
    return Unit("timing/detection", measure, arguments, needs=needs, alone=True)


def measure(store: Store, *, forms: list[str], threads: int, seconds: float) -> dict[str, Any]:
    """Milliseconds of each form for :data:`BATCH` pictures of random pixels, and our memory."""
    network, layout = trained_detector(store)
    pictures = torch.rand(
        BATCH, 3, layout.size, layout.size, generator=torch.Generator().manual_seed(0)
    )
    calls = {FP32: pytorch_call(network, pictures)}
    memory = {}
    for form in forms:
        key = form_key(form)
        if form in OURS:
            model = wbcq.load(store.path(key, ".wbcq"), threads=threads)
            memory[form] = sum(model.memory_use(BATCH).values())
            calls[form] = partial(model, pictures)
        elif form.startswith("onnx"):
            session = onnx_session(store.path(key, ".onnx"), threads=threads)
            calls[form] = partial(session, pictures.numpy())
        else:
            script = torch.jit.load(str(store.path(key, ".ts")))  # type: ignore[no-untyped-call]
            calls[form] = partial(script, pictures)
    ms = in_turns(calls, threads, seconds, store)
    return {"ms": ms, "memory": memory, "batch": BATCH, "size": layout.size, "threads": threads}


def pytorch_call(network: nn.Module, pictures: Tensor) -> Callable[[], object]:
    """PyTorch's FP32, frozen and channels last."""
    torch.jit.set_fusion_strategy([])  # it would compile during the first calls
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    last = pictures.contiguous(memory_format=torch.channels_last)
    return partial(freeze(network, (last,)), last)


def in_turns(
    calls: Mapping[str, Callable[[], object]], threads: int, seconds: float, store: Store
) -> dict[str, float]:
    """Milliseconds of calls that take turns, torch with so many threads."""
    torch.backends.quantized.engine = engine_name()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            return quietest_ms(calls, rounds=5, seconds=seconds, on_round=store.progress)
    finally:
        torch.set_num_threads(before)
