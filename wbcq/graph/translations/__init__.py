"""Translations from ATen operators to the graph's own: the place to add an operator. No torch here.

A translation is one function, registered under the operator's name without the trailing underscore
of its in-place form (in-place updates are replayed by :mod:`wbcq.graph.translate`). It reads the
call's arguments by their schema names and says what the call is: one node, the same tensor, or a
view of it. To refuse a call it raises ``call.unsupported(reason)``, which adds operator, module and
line. For example, in :mod:`wbcq.graph.translations.elementwise`::

    @translates("aten.relu.default")
    def _relu(call: AtenCall) -> Result:
        return Emit(ir.Clamp(ir.RELU), (call.tensor("self"),))
"""

from __future__ import annotations

from wbcq.graph.translations import elementwise, layers, pooling, views
from wbcq.graph.translations.call import (
    TRANSLATIONS,
    AtenCall,
    Deferred,
    Emit,
    Parameter,
    Result,
    Same,
    Shape,
    Tensor,
    View,
    format_shape,
    translates,
)

__all__ = [
    "TRANSLATIONS",
    "AtenCall",
    "Deferred",
    "Emit",
    "Parameter",
    "Result",
    "Same",
    "Shape",
    "Tensor",
    "View",
    "elementwise",
    "format_shape",
    "layers",
    "pooling",
    "translates",
    "views",
]
