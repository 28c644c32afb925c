"""Kinds of questions about the world, each in the form of a real benchmark; see `catalogue`."""
