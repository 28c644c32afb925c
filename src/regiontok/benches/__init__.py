"""Benchmarks, one file each: published files -> questions, replies -> marks, marks -> scores."""
