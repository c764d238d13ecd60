"""Observers, fake quantization, calibration and lowering to integers."""
