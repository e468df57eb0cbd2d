"""The tables of docs/notebook/ that are made from the rows in benchmarks/results/.

    python benchmarks/notebook.py           # writes them
    python benchmarks/notebook.py --check   # exit status 1, and the names of those that differ

Those of comparison.md and ablation.md are written by `python benchmarks/comparison report`, that of gpu.md by
`python benchmarks/gpu.py report`. A table stands between two markers (`comparison.markers`); what is around
them is written by hand.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from comparison.markers import blocks_of, with_blocks
from notebook_tables import calibration, checks, costs, speed, withheld

DOCS = Path(__file__).resolve().parents[1] / "docs" / "notebook"
PAGES: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "check.md": checks.CHECK,
    "clusters.md": costs.CLUSTERS,
    "defaults.md": withheld.DEFAULTS,
    "empiar-10499.md": withheld.EMPIAR,
    "live.md": costs.LIVE,
    "measurements.md": costs.MEASUREMENTS,
    "realistic.md": calibration.REALISTIC,
    "speed.md": speed.TABLES,
    "transfer.md": withheld.TRANSFER,
    "trust.md": calibration.TRUST,
}


def texts(docs: Path) -> dict[Path, str]:
    """The pages of a folder as the rows make them."""
    return {
        docs / page: with_blocks(docs / page, {name: table() for name, table in tables.items()})
        for page, tables in PAGES.items()
    }


def differing(docs: Path) -> list[str]:
    """The tables of a folder's pages that are not those of the rows."""
    found = []
    for path, text in texts(docs).items():
        there = blocks_of(path.read_text())
        found += [f"{path.name}: {name}" for name, block in blocks_of(text).items() if there[name] != block]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a table differs")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the pages")
    arguments = parser.parse_args()
    if arguments.check:
        found = differing(arguments.docs)
        if found:
            raise SystemExit("\n".join(["python benchmarks/notebook.py would change", *found]))
        return
    for path, text in texts(arguments.docs).items():
        path.write_text(text)


if __name__ == "__main__":
    main()
