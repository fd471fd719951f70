"""python -m studio.train: what python -m studio train does (studio/cli/train.py)."""

import sys

from studio.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
