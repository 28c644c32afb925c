"""Conversations with a model about pictures."""
