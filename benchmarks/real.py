"""Settings of the method on a real tilt series, by withheld tilts and by anisotropy: one table.

    python benchmarks/real.py FOLDER_OR_STACK -o OUT "default:" "so3:--exact-rotations 0" \
        [--withhold outer side inner] [--seeds 0 1] [--all-tilts] -- --thickness 200 --bin 2 --budget 10min

Each setting is ``name:flags``, flags of dewedge run; those behind ``--`` hold for all. Every fit is a
`dewedge validate` in OUT/NAME/KIND, and with --all-tilts a `dewedge run` and `dewedge evaluate` in
OUT/NAME/all/SEED. What is there is not computed again, so settings can be added; table.md and table.json are
written anew.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np

from dewedge.cli import main as dewedge
from dewedge.io.files import write_text_atomic

OF_RUN = "refined.mrc"


def carry_out(command: list[str], folder: Path, done: str) -> None:
    """One command of dewedge into a folder, or its continuation there; none if its last file is there."""
    if (folder / done).exists():
        return
    resume = [command[0], "--resume"] if (folder / "config.toml").exists() else command
    status = dewedge([*resume, "-o", str(folder)])
    if status:
        sys.exit(status)


def files_of(series: Path) -> list[Path]:
    """The stack; or what lies in a folder, which holds one."""
    if not series.is_dir():
        return [series]
    stacks = sorted(series.glob("*.mrc"))
    if len(stacks) != 1:
        sys.exit(f"{series}: expected one stack (.mrc), got {len(stacks)}")
    return stacks


def withheld(setting: str, flags: list[str], args: argparse.Namespace, kind: str) -> dict[str, Any]:
    """The figures of a setting for one way of withholding."""
    folder = args.output / setting / kind
    seeds = ["--seeds", *map(str, args.seeds)]
    carry_out(
        ["validate", *args.series, *args.common, *flags, "--withhold", kind, *seeds], folder, "validate.json"
    )
    return json.loads((folder / "validate.json").read_text())


def all_tilts(setting: str, flags: list[str], args: argparse.Namespace, seed: int) -> dict[str, Any]:
    """The measures of a run on all tilts."""
    folder = args.output / setting / "all" / f"seed{seed}"
    carry_out(["run", *args.series, *args.common, *flags, "--seed", str(seed)], folder, OF_RUN)
    measures = folder / "measures.json"
    if not measures.exists() and dewedge(["evaluate", str(folder), "--json", str(measures)]):
        sys.exit(1)
    [found] = json.loads(measures.read_text()).values()
    return found


def cells(values: list[list[float | None]]) -> str:
    """Mean over the seeds of each shell, and with several the largest distance from it."""
    table = np.array(values, dtype=float)
    mean = table.mean(axis=0)
    text = " ".join("-" if np.isnan(value) else f"{value:.2f}" for value in mean)
    return text if len(table) == 1 else f"{text} (±{np.nanmax(np.abs(table - mean)):.2f})"


def withheld_table(kind: str, found: dict[str, dict[str, Any]]) -> list[str]:
    """Rows of all settings for one way of withholding."""
    first = next(iter(next(iter(found.values()))["cone"].values()))
    lines = [
        f"## {kind}",
        "",
        f"Shells {first['edges_per_voxel']} cycles per voxel, directions "
        f"{np.round(first['cone_deg'], 1).tolist()} degrees, "
        f"{min(first['gap_deg']):.0f} from the nearest tilt given; chance {cells([first['chance']])}.",
        "",
        "| setting | correlation | explained power | slope |",
        "| --- | --- | --- | --- |",
    ]
    rows = {
        "FBP of the tilts given, as prepared for": [(name, scores, "given") for name, scores in found.items()]
    }
    rows["prediction of"] = [(name, scores, "prediction") for name, scores in found.items()]
    for label, entries in rows.items():
        for name, scores, key in entries:
            of_seeds = [scores_of_seed[key] for scores_of_seed in scores["cone"].values()]
            figures = [cells([one[m] for one in of_seeds]) for m in ("correlation", "explained", "slope")]
            lines.append(f"| {label} {name} | {' | '.join(figures)} |")
    return [*lines, ""]


def shape_table(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Rows of all settings on all tilts."""
    lines = [
        "## all tilts",
        "",
        "| setting | objects z:x | beads z:x | power in the wedge | in the rotated wedge | weave "
        "| half-sets: error ratio, CC |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, seeds in found.items():
        for tomogram in ("FBP", "refined"):
            shapes = [measures["anisotropy"][tomogram] for measures in seeds]
            sizes = [
                cells([[(one[what] or {}).get("z_to_x")] for one in shapes]) for what in ("objects", "beads")
            ]
            powers = [cells([one["wedge"][what] for one in shapes]) for what in ("inside", "rotated")]
            weave = cells([one["weave"]["axes"] for one in shapes])
            halves = "-"
            if tomogram == "refined":
                scores = [measures["half_sets"] for measures in seeds]
                halves = cells([[one["error_ratio"], one["cc_signal"]] for one in scores])
            lines.append(f"| {name}: {tomogram} | {' | '.join([*sizes, *powers, weave, halves])} |")
    return [*lines, ""]


def main() -> None:
    """Compute what is missing, and write the table."""
    arguments = sys.argv[1:]
    split = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("series", type=Path, help="stack, or folder with one .mrc, its .tlt and .xf")
    parser.add_argument("settings", nargs="+", metavar="NAME:FLAGS")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--withhold", nargs="*", default=["outer"], choices=["outer", "side", "inner"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--all-tilts", action="store_true")
    args = parser.parse_args(arguments[:split])
    args.common = arguments[split + 1 :]
    args.series = [str(path.absolute()) for path in files_of(args.series)]
    settings = {}
    for text in args.settings:
        name, colon, flags = text.partition(":")
        if not colon or not name or "/" in name:
            parser.error(f"setting {text!r}: expected NAME:FLAGS")
        settings[name] = shlex.split(flags)
    lines, figures = ["# Real data", ""], {}
    for kind in args.withhold:
        found = {name: withheld(name, flags, args, kind) for name, flags in settings.items()}
        lines += withheld_table(kind, found)
        figures[kind] = found
    if args.all_tilts:
        shapes = {
            name: [all_tilts(name, flags, args, seed) for seed in args.seeds]
            for name, flags in settings.items()
        }
        lines += shape_table(shapes)
        figures["all"] = shapes
    commands = [f"- {name}: `{' '.join([*args.common, *flags])}`" for name, flags in settings.items()]
    lines += ["## Settings", "", *commands, ""]
    write_text_atomic(args.output / "table.md", "\n".join(lines))
    write_text_atomic(args.output / "table.json", json.dumps(figures, indent=2) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
