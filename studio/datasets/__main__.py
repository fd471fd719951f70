"""python -m studio.datasets: what python -m studio datasets does (studio/cli/datasets.py)."""

import sys

from studio.cli.datasets import main

if __name__ == "__main__":
    sys.exit(main())
