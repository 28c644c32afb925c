"""Connectors: values of visual tokens [t d] -> the language model's width [t e]. One a file."""
