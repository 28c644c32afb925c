"""The generated world: pictures with exact masks."""
