"""``python -m dewedge``."""

from __future__ import annotations

import sys

from dewedge.cli import main

sys.exit(main())
