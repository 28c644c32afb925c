"""Probes of frozen encoders: what their regions are good for under a small head that learns."""
