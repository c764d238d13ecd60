"""Operators that compute nothing: identities, copies, other views of the same elements."""

from __future__ import annotations

import numpy as np

from wbcq.graph.translations.call import AtenCall, Result, Same, View, translates


@translates("aten.dropout.default", "aten.feature_dropout.default", "aten.alpha_dropout.default")
def _dropout(call: AtenCall) -> Result:
    if call.arguments["train"]:
        raise call.unsupported(
            "dropout is active in evaluation mode. Remedy: use nn.Dropout, or pass "
            "training=self.training to the functional form"
        )
    return Same("input" if "input" in call.arguments else "self", never_copies=True)


@translates(
    "aten.alias.default",
    "aten.clone.default",
    "aten.contiguous.default",
    "aten.detach.default",
    "aten.lift_fresh_copy.default",
    "aten.to.device",
    "aten.to.dtype",
    "aten.to.dtype_layout",
    "aten.to.other",
    "aten.type_as.default",
)
def _same(call: AtenCall) -> Result:
    return Same("self")


@translates(
    "aten.flatten.using_ints",
    "aten.view.default",
    "aten.reshape.default",
    "aten.unflatten.int",
    "aten._unsafe_view.default",
    "aten.squeeze.default",
    "aten.squeeze.dim",
    "aten.squeeze.dims",
    "aten.unsqueeze.default",
    "aten.view_as.default",
    "aten.reshape_as.default",
)
def _view(call: AtenCall) -> Result:
    return View("self")


@translates("aten.transpose.int")
def _transpose(call: AtenCall) -> Result:
    rank = len(call.tensor("self", ranks=None).shape)
    a, b = (call.axis(call.arguments[name], rank) - 1 for name in ("dim0", "dim1"))
    return View("self", lambda layout: layout.swapaxes(a, b))


@translates("aten.permute.default")
def _permute(call: AtenCall) -> Result:
    rank = len(call.tensor("self", ranks=None).shape)
    dims = [dim % rank for dim in call.arguments["dims"]]
    if dims[0] != 0:
        raise call.unsupported("it moves the batch from the first dimension")
    return View("self", lambda layout: layout.transpose([dim - 1 for dim in dims[1:]]))


@translates("aten.expand.default", "aten.expand_as.default")
def _expand(call: AtenCall) -> Result:
    sizes = tuple(size or 0 for size in call.output_shape[1:])
    return View("self", lambda layout: np.broadcast_to(layout, sizes))
