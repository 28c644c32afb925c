"""Answers made into scores, and scores laid beside the papers' figures."""
