"""A model asked the questions of a benchmark."""
