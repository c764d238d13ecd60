"""INT8 quantization and pruning of small CNNs for edge CPUs."""
