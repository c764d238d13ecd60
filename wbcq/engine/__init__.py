"""The integer program, its file, its oracle, and the C++ engine that runs it."""
