"""`python -m regiontok` is the command line."""

from __future__ import annotations

from regiontok.cli.app import main

if __name__ == "__main__":
    main()
