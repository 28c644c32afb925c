"""Masks of folders, archives and records into a mask store."""
