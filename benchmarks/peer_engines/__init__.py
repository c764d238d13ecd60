"""Networks in wbcq and in other engines: prepared as files once, then loaded and called.

Each engine has a module here that registers it; one that is not installed is left out.
"""

from peer_engines import executorch, mnn, ncnn, onnx_runtime, openvino, ours, pytorch
from peer_engines.engine import ENGINES, Call, Engine, Network, available

__all__ = ["ENGINES", "Call", "Engine", "Network", "available"]

# Imported for what they register.
_MODULES = (executorch, mnn, ncnn, onnx_runtime, openvino, ours, pytorch)
