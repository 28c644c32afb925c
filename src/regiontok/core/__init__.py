"""The nouns: what every other room of the house speaks about."""
