"""Masks that other projects left on disk, read into a mask store."""
