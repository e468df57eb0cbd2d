"""The tables of measurements.md, live.md and clusters.md in docs/notebook/."""

from __future__ import annotations

from comparison.markers import markdown
from notebook_tables.rows import read, several, table

ENDINGS = {  # what a kill found last, by the step that had just written it
    "a reconstruction, beads or mask": ("full.mrc", "beads.mrc", "mask.mrc"),
    "the checkpoint": ("checkpoint.safetensors",),
    "the model": ("model.safetensors",),
    "the refined tomogram": ("refined.mrc",),
    "nothing": ("nothing",),
}


def presets() -> str:
    rows = read("presets")
    of = {(row["preset"], row["what"]): row for row in rows}
    lines = []
    for preset in dict.fromkeys(row["preset"] for row in rows):
        fit = of[preset, "fit"]
        cells = [
            preset,
            f"{fit['parameters'] / 1e6:.2f} M",
            f"{fit['multiply_adds_per_voxel']:,.0f}",
        ]
        for what in ("fit", "refine"):
            row = of[preset, what]
            cells.append(f"{row['microseconds_per_voxel']:.2f}")
            cells.append(f"{row['peak_bytes'] / 1e9:.2f} GB")
            cells.append(f"{row['peak_bytes_per_voxel']:,.0f} B")
        lines.append(cells)
    titles = [
        "preset",
        "parameters",
        "multiply-adds a voxel",
        "fit: microseconds a voxel",
        "fit: memory, 4 cubes of 48",
        "a voxel",
        "refine: microseconds a voxel",
        "refine: memory, tile of 96",
        "a voxel",
    ]
    return table(markdown(titles, lines), {"presets": several(rows)})


def kills() -> str:
    rows = read("kills")
    found = dict(rows["last_result_at_the_kill"])
    lines = [[what, str(sum(found.pop(name, 0) for name in names))] for what, names in ENDINGS.items()]
    lines += [[f"`{name}`", str(n)] for name, n in found.items()]
    signals = ", ".join(f"{n} {name}" for name, n in rows["by_signal"].items())
    said = (
        f"{rows['kills']} kills ({signals}) of {rows['runs']} runs; {rows['compared']} arrays and files "
        f"compared with the unbroken run's ({rows['unbroken_s']} s): {len(rows['differing'])} differ."
    )
    return f"{said}\n\n{table(markdown(['the last result at the kill', 'kills'], lines), {'kills': rows})}"


def live() -> str:
    rows = read("live")
    lines = [
        [str(at["done"]), f"{at['MB']:.0f}", str(at["open_files"]), f"{at['s_each']:.2f}"]
        for at in rows["at"]
    ]
    said = (
        f"{rows['tomograms']} tomograms: {rows['done']} done, {rows['failed']} failed, exit status "
        f"{rows['exit_status']}. At the end a look took {1000 * rows['look_s']:.0f} ms, a restart that found "
        f"all done {rows['restart_s']:.1f} s, and the status page was {rows['status_page_MB']} MB."
    )
    titles = ["done", "memory of its own (MB)", "open files", "seconds a tomogram"]
    return f"{said}\n\n{table(markdown(titles, lines), {'live': rows})}"


def turns() -> str:
    (result,) = [part for part in read("many") if part["what"] == "turns"]
    lines = [
        [
            str(row["processes"])
            + (f", on {result['cores']} cores" if row["processes"] > result["cores"] else ""),
            f"{row['series_per_hour']:,}",
            f"{row['s_per_series']:.2f}",
            f"{row['efficiency']:.2f}",
            f"{row['start_s']:.1f}",
        ]
        for row in result["rows"]
    ]
    titles = [
        "processes (gloo, one thread each)",
        f"series of 41 x {result['size']} x {result['size']} in an hour",
        "s a series",
        "efficiency on the cores there are",
        "s until the first",
    ]
    return table(markdown(titles, lines), {"many": result})


def memory() -> str:
    parts = [part for part in read("many") if part["what"] == "memory"]
    lines = []
    for part in parts:
        at = part["at"]
        lines.append(
            [
                f"{part['series']} of 41 x {part['size']} x {part['size']}",
                "one fit to all" if part["joint"] else "`--fit-each`",
                ", ".join(f"{at[fifth]['MB']:.0f}" for fifth in (1, 3, 5)) + " MB",
                f"{part['peak']['MB']:.0f} MB",
                str(part["peak"]["open_files"]),
                f"{part['s']:.0f}",
            ]
        )
    held = "memory after a fifth, three and all"
    titles = ["series", "", held, "most at any time", "files open, at most", "seconds"]
    return table(markdown(titles, lines), {"many": several(parts)})


MEASUREMENTS = {"presets": presets, "kills": kills}
LIVE = {"live": live}
CLUSTERS = {"turns": turns, "memory": memory}
