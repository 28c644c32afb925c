"""What the commands do, callable from Python; nothing here reads a command line."""
