"""Mutated inputs over all readers: a few in `tests/test_fuzz.py`, many by `tests/fuzz/run.py`."""
