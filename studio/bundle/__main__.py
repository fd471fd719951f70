"""python -m studio.bundle: what python -m studio bundle does (studio/cli/bundle.py)."""

import sys

from studio.cli.bundle import main

if __name__ == "__main__":
    sys.exit(main())
