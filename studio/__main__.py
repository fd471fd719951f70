"""python -m studio COMMAND ...   What there is to command: studio/cli."""

import sys

from studio import cli

if __name__ == "__main__":
    sys.exit(cli.main())
