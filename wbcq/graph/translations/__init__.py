"""Translations from ATen operators to the graph's own: the place to add an operator. No torch here.

A translation is one function, registered under the operator's name without the trailing underscore
of its in-place form (in-place updates are replayed by :mod:`wbcq.graph.translate`). It reads the
call's arguments by their schema names and says what the call is: one node or more, the same
tensor, or a view of it. To refuse a call it raises ``call.unsupported(reason)``, which adds
operator, module and line. For example, in :mod:`wbcq.graph.translations.functions`::

    @translates("aten.hardswish.default")
    def _hardswish(call: AtenCall) -> Result:
        return Emit(ir.Unary((ir.Function("hardswish"),)), (call.tensor("self"),))
"""

from __future__ import annotations

from wbcq.graph.translations import (
    channels,
    elementwise,
    functions,
    groups,
    layers,
    one_dimensional,
    pooling,
    transposed,
    views,
)
from wbcq.graph.translations.call import (
    TRANSLATIONS,
    Arrange,
    AtenCall,
    Deferred,
    Emit,
    Parameter,
    Result,
    Same,
    Several,
    Shape,
    Tensor,
    View,
    as_picture,
    format_shape,
    translates,
)

__all__ = [
    "TRANSLATIONS",
    "Arrange",
    "AtenCall",
    "Deferred",
    "Emit",
    "Parameter",
    "Result",
    "Same",
    "Several",
    "Shape",
    "Tensor",
    "View",
    "as_picture",
    "channels",
    "elementwise",
    "format_shape",
    "functions",
    "groups",
    "layers",
    "one_dimensional",
    "pooling",
    "translates",
    "transposed",
    "views",
]
