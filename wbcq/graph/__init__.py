"""Capture of a torch model into a typed, torch-free graph, and passes over it."""
