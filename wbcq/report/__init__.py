"""Tables, plots and files for people to read."""
