"""The paper's experiments on the data it used.

    python benchmarks/paper 10045 FOLDER -o OUT       # EMPIAR-10045: figure 3
    python benchmarks/paper tomo110 FOLDER -o OUT     # the flagella: figures 4 and 9
    python benchmarks/paper shrec FOLDER -o OUT       # SHREC 2020: figures 5 to 8
    python benchmarks/paper settings                  # every setting, and where it comes from
    python benchmarks/paper standins FOLDER           # small simulated data under the same names

The same command again goes on where it was stopped, and computes nothing that is there.
docs/notebook/paper.md tells what each needs and what differs from the paper.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from paper.command import main

if __name__ == "__main__":
    sys.exit(main(__doc__ or ""))
