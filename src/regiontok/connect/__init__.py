"""Connectors, which take visual tokens to the language model's width; one method a file."""
