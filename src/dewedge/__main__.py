"""``python -m dewedge``: the command line."""

import sys

from dewedge.cli import main

if __name__ == "__main__":
    sys.exit(main())
