"""Quantization-aware training: a network that trains with the roundings that it will run with."""

from wbcq.quant.qat.module import QatModule, QatSchedule, convert, prepare_qat

__all__ = ["QatModule", "QatSchedule", "convert", "prepare_qat"]
