"""Places, which put something between visual tokens or add to them; one method a file."""
