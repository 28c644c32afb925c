"""Ways to fewer tokens compared at the same budget."""
