"""Places: what is put between or added to visual tokens, before the connector or after it. One a
file."""
