"""The survey's records as a page of Markdown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from survey_measure import BOUND
from survey_models import FAMILIES, picture_size

__all__ = ["page"]


def page(records: Mapping[str, Mapping[str, Any]], timm_version: str) -> str:
    """The whole page."""
    known = [records[name] for names in FAMILIES.values() for name in names if name in records]
    done = [record for record in known if record["status"] == "ok"]
    good = [record for record in done if record["sqnr"] >= BOUND]
    families = [
        family
        for family, names in FAMILIES.items()
        if any(records.get(name, {}).get("status") == "ok" for name in names)
    ]
    integer = [record for record in done if not record["islands"]]
    same = sum(bool(record["same_bits"]) for record in integer)
    lines = [
        "# Strangers' networks",
        "",
        "Networks that nobody here wrote: timm's convolutional families, captured, quantized and "
        "run by the engine. Made by `python benchmarks/survey.py`; do not edit.",
        "",
        f"timm {timm_version}, torch {torch.__version__.partition('+')[0]}. Weights are random, "
        "batch normalization is settled by three passes in training mode, pictures are noise. "
        "Norms get scales of 0.5 to 1.5, shifts around +0.5, and gains that begin at zero become "
        "0.3: with shifts around zero a deep network of random weights is chaotic, and its SQNR "
        "tells of the network alone (ResNet-50: 10.6 dB with the gains as they begin, 22.5 with "
        "0.3, 37.5 with the shifts too). "
        "SQNR compares the outputs with PyTorch's float32 ones, on pictures that were not used for "
        f"calibration. Where it is below {BOUND:g} dB, the result tells what the float32 network "
        "itself makes of noise 40 dB below all that enters and leaves a layer, as 8 bits add.",
        "",
        f"- {len(done)} of {len(known)} networks run, of {len(families)} families of "
        f"{len(FAMILIES)}.",
        f"- {len(good)} of them reach {BOUND:g} dB.",
        f"- {len(integer)} run in integers alone; {same} of these give the bits of the exact "
        "executor.",
        f"- {sum(record['status'] == 'refused' for record in known)} are refused with an error "
        "that names the layer, "
        f"{sum(record['status'] == 'crashed' for record in known)} fail in another way.",
        "",
        *_reasons(known),
        "| family | network | parameters (M) | picture | SQNR (dB) | operators | in float | result "
        "|",
        "|---|---|--:|--:|--:|--:|--:|---|",
    ]
    for family, names in FAMILIES.items():
        lines.extend(_row(family, records[name]) for name in names if name in records)
    return "\n".join(lines) + "\n"


def _reasons(records: list[Mapping[str, Any]]) -> list[str]:
    counts = Counter(_kind(record) for record in records if record["status"] != "ok")
    if not counts:
        return []
    rows = [f"| {kind} | {count} |" for kind, count in counts.most_common()]
    return ["| what is missing | networks |", "|---|--:|", *rows, ""]


def _kind(record: Mapping[str, Any]) -> str:
    """A reason without what belongs to one network: module, line, numbers."""
    reason = re.sub(r" in \S+ \([^)]*\):", ":", _plain(record))
    reason = re.sub(r"'[^']*'", "...", reason.partition(". Remedy")[0])
    return re.sub(r"\b\d+(\.\d+)?\b", "n", reason)


def _plain(record: Mapping[str, Any]) -> str:
    """Without the machine's paths, in one cell."""
    reason = re.sub(r"/\S*/site-packages/", "", str(record["reason"]))
    return reason.replace("|", "\\|")


def _row(family: str, record: Mapping[str, Any]) -> str:
    size = picture_size(record["model"])
    cells = [family, record["model"], _millions(record), f"{size}x{size}"]
    if record["status"] != "ok":
        return "| " + " | ".join([*cells, "", "", "", _plain(record)]) + " |"
    notes = ["runs"]
    if record["sqnr"] < BOUND:
        notes = [f"noise of 40 dB at each layer in float32 gives {record['noisy_layers']:.1f}"]
    if record["islands"]:
        notes.append("in float: " + ", ".join(record["island_kinds"]))
    elif not record["same_bits"]:
        notes.append("DIFFERS from the exact executor")
    cells += [f"{record['sqnr']:.1f}", str(record["operators"]), str(record["islands"])]
    return "| " + " | ".join([*cells, "; ".join(notes)]) + " |"


def _millions(record: Mapping[str, Any]) -> str:
    return f"{record['parameters'] / 1e6:.1f}" if "parameters" in record else ""
