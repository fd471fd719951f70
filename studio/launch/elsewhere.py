"""python -m studio.launch.elsewhere: as the scripts of older bundles call studio/remote/elsewhere.py."""

import sys

from studio.remote.elsewhere import main

if __name__ == "__main__":
    sys.exit(main())
