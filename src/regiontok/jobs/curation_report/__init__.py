"""The page of a curation: what was found, shown by samples, and what was left out."""
