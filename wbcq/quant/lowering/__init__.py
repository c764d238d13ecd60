"""Lowering of each kind of node; :func:`wbcq.quant.lower.lower` is the whole."""
