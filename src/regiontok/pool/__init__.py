"""Pools: values and Members -> Tokens. One a file."""
