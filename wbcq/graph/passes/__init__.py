"""Graph to graph transformations; each is a function ``Graph -> Graph`` in a module of its own."""
