"""The commands: each is a function callable from Python; `cli.py` hands them the words of the command line."""
