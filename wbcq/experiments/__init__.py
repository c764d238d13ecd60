"""The study's experiments: units of work that resume, and the tables and figures made of them."""
