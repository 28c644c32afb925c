"""The command line: words to jobs."""
