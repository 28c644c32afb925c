"""The command line: words become calls of `regiontok.jobs`, and results are shown on a terminal."""
