"""Transforms, which change the features that region steps read; one method a file."""
