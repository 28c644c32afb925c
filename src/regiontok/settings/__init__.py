"""What a text means: specs and their registry, short names, recipes."""
