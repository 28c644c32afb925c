"""Region steps, which turn the regions of a view into other regions; one method a file."""
