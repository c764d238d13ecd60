"""The counter as a service for the lab bench: a page in the browser, no torch.

>>> from wbcq import serve
"""

from wbcq.serve.limits import Limits
from wbcq.serve.worker import CountError, Models, Worker

__all__ = ["CountError", "Limits", "Models", "Worker"]
