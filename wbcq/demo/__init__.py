"""The demonstration: train a classifier, quantize it, and show what that costs and gains."""

from wbcq.demo.pipeline import DemoConfig, DemoResult, run_demo

__all__ = ["DemoConfig", "DemoResult", "run_demo"]
