"""Operators that compute nothing: identities, copies, reshapes."""

from __future__ import annotations

from wbcq.graph.translations.call import AtenCall, Result, Same, View, translates


@translates("aten.dropout.default", "aten.feature_dropout.default", "aten.alpha_dropout.default")
def _dropout(call: AtenCall) -> Result:
    if call.arguments["train"]:
        raise call.unsupported(
            "dropout is active in evaluation mode. Remedy: use nn.Dropout, or pass "
            "training=self.training to the functional form"
        )
    return Same("input", never_copies=True)


@translates(
    "aten.alias.default",
    "aten.clone.default",
    "aten.contiguous.default",
    "aten.detach.default",
    "aten.to.device",
    "aten.to.dtype",
    "aten.to.dtype_layout",
    "aten.to.other",
)
def _same(call: AtenCall) -> Result:
    return Same("self")


@translates(
    "aten.flatten.using_ints",
    "aten.view.default",
    "aten.reshape.default",
    "aten._unsafe_view.default",
    "aten.squeeze.default",
    "aten.squeeze.dim",
    "aten.squeeze.dims",
    "aten.unsqueeze.default",
)
def _view(call: AtenCall) -> Result:
    return View("self")
