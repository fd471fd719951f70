"""python -m studio.launch.elsewhere: as bundles made before 0.2 call studio/remote/elsewhere.py in their scripts."""

import sys

from studio.remote.elsewhere import main

if __name__ == "__main__":
    sys.exit(main())
