"""The tables of docs/notebook/speed.md."""

from __future__ import annotations

from typing import Any

from comparison.markers import markdown
from notebook_tables.rows import Row, read, several, table

OPERATORS = {"back_project": "back-projection", "project": "projection", "fbp": "FBP"}
OTHERS = {
    "numpy": "NumPy, linear interpolation (in the benchmark)",
    "astra": "ASTRA 2.5.0, processor path, `linear`, slice by slice",
    "scikit-image": "scikit-image 0.26.0 `iradon`, `radon`, square slices",
}
LETTERS = {"x86-64 server CPU, AMX": "A", "AMD EPYC, AVX512-BF16": "B"}
FITS = {
    "plain": ("plain", "16 channels at full resolution", "float32"),
    "ours, 32-true": ("dewedge", "the same", "float32"),
    "ours, bf16-mixed": ("dewedge", "the same", "bfloat16"),
    "large, bf16-mixed": ("dewedge", "preset `large`", "bfloat16"),
    "default, bf16-mixed": ("dewedge", "preset `default`", "bfloat16"),
}
REFINEMENTS = {
    "plain": ("plain, float32, overlap 32", "1"),
    "ours, 32-true, 1 prediction": ("dewedge, float32, overlap 24", "1"),
    "ours, bf16-mixed, 1 prediction": ("dewedge, bfloat16, overlap 24", "1"),
    "ours, bf16-mixed, average of 4": ("dewedge, bfloat16, overlap 24, the default of then", "4"),
}
VARIANTS = {
    "as it is": "as it is: bfloat16 by autocast, weights channels last",
    "float32": "float32",
    "contiguous": "contiguous weights",
    "weights in bfloat16": "weights kept in bfloat16",
    "fused Adam": "fused Adam",
    "inference_mode": "`torch.inference_mode` for `no_grad`",
    "torch.compile": "torch.compile",
}
NETWORKS = {"32 channels at half resolution": "`large`", "16 channels": "16 channels"}


def whole_job() -> str:
    runs = headlines()
    steps = {
        "copy": "copy of the half-sets and the whole into the folder of results",
        "fit": "fit",
        "refine": "refinement",
    }
    lines = [
        [title, *(minutes(rows["steps_s"][step]) for rows in runs.values())] for step, title in steps.items()
    ]
    lines.append(["all", *(f"**{minutes(rows['seconds'])}**" for rows in runs.values())])
    titles = [
        f"`--budget {rows['budget']}`, {name}" for name, rows in zip(DEFAULTS, runs.values(), strict=True)
    ]
    return table(markdown(["step", *titles], lines), runs)


def whole_job_scores() -> str:
    runs = headlines()
    names = {"fbp": "FBP", "large": "large tomogram", "alone": "the specimen alone"}
    lines = [
        [f"{network}: {title}", *(f"{rows[name][score]:.3f}" for score in ("cc", "cc_outside", "cc_inside"))]
        for network, rows in zip(DEFAULTS, runs.values(), strict=True)
        for name, title in names.items()
    ]
    return table(markdown(["", "CC", "outside the wedge", "inside"], lines), runs)


# Of today's default, and of that before, which left gold in the images.
DEFAULTS = ("16 channels", "32 channels, gold left")


def headlines() -> dict[str, Row]:
    """The whole job by today's default and by that before."""
    return {name: read(name) for name in ("headline", "headline_large")}


def minutes(seconds: float) -> str:
    return "{}:{:02d} min".format(*divmod(round(seconds), 60))


def projection() -> str:
    parts = {name: read(name) for name in ("projection", "projection_amx")}
    blocks = []
    for name, rows in parts.items():
        compare = rows["compare"]
        rates = compare["updates_per_us"]
        lines = [
            [title, *(f"{rates[f'{program} {operator}']:.0f}" for operator in OPERATORS)]
            for program, title in ({"dewedge": "dewedge"} | OTHERS).items()
        ]
        ratios = compare["ratio_to_best"]
        lines.append(["dewedge / best of the others", *(f"{ratios[o]:.1f}" for o in OPERATORS)])
        two = compare["two_threads_updates_per_us"]
        lines.append(["dewedge, two threads, by the clock", *(f"{two[o]:.0f}" for o in OPERATORS)])
        blocks.append(table(markdown([letter(rows), *OPERATORS.values()], lines), {name: rows}))
    return "\n\n".join(blocks)


def growth() -> str:
    parts = {name: read(name) for name in ("projection", "projection_amx")}
    titles = [f"{letter(rows)}: {title}" for rows in parts.values() for title in OPERATORS.values()]
    lines = []
    for same in zip(*(rows["growth"] for rows in parts.values()), strict=True):
        first = same[0]
        size = f"{first['n']}, {first['depth']} x {first['height']} x {first['width']}"
        lines.append([size, *(f"{part['updates_per_us'][o]:.0f}" for part in same for o in OPERATORS)])
    return table(markdown(["tilts, z x y x x", *titles], lines), parts)


def blocks() -> str:
    rows = read("projection")
    titles = [
        "H",
        "processor time (s)",
        "updates a microsecond",
        "memory without the file's pages (MB)",
        "file (MB)",
    ]
    keys = ("cpu_s", "updates_per_us", "anonymous_MB", "file_MB")
    lines = [[str(part["shape_zyx"][1]), *(str(part[key]) for key in keys)] for part in rows["blocks"]]
    return table(markdown(titles, lines), {"projection": rows})


def fit_parts() -> dict[str, Row]:
    return {name: read(name) for name in ("fit_speed_amx_before", "fit_speed_amx", "fit_speed")}


def fit_names(parts: dict[str, Row]) -> list[str]:
    """A before, A after, B."""
    return [
        letter(rows) + {"fit_speed_amx_before": " before", "fit_speed_amx": " after"}.get(name, "")
        for name, rows in parts.items()
    ]


def fit() -> str:
    parts = fit_parts()
    titles = [f"{name}: {what}" for name in fit_names(parts) for what in ("a second", "against plain")]
    lines = []
    for key, labels in FITS.items():
        cells = []
        for rows in parts.values():
            compare = rows["compare"]
            cells.append(f"{compare['samples_per_second'][key]:.1f}")
            cells.append(digits(compare["ratio_to_plain"][key]))
        lines.append([*labels, *cells])
    return table(markdown(["fit", "network", "format", *titles], lines), parts)


def fit_steps() -> str:
    parts = fit_parts()
    networks = [share["network"] for share in next(iter(parts.values()))["shares"]]
    titles = [f"{network}: {name}" for network in networks for name in fit_names(parts)]
    of = [(rows["shares"][i]["ms"], rows["shares"][i]["data"]) for i in range(3) for rows in parts.values()]
    names = list(of[0][0])[:-1]
    lines = [[name, *(digits(ms[name]) for ms, _ in of)] for name in names]
    lines.append(["clipping, optimiser, average", *(digits(list(ms.values())[-1]) for ms, _ in of)])
    lines.append(["share of rotation, masks and transforms", *(f"{100 * data:.2g} %" for _, data in of)])
    return table(markdown(["ms", *titles], lines), parts)


def convolutions() -> str:
    """Of the preset `large`, kernels of one voxel together."""
    tables = []
    for name in ("convolutions_amx", "convolutions"):
        rows = read(name)
        network = rows["32 channels at half resolution"]
        kinds = [f"{kind} {way}" for kind in ("fp32", "bf16") for way in ("forward", "both")]
        wide = [layer for layer in network["convolutions"] if layer["kernel"] == 3]
        lines = [
            [
                f"{layer['n_in']} to {layer['n_out']}, 3^3",
                str(layer["edge"]),
                str(layer["count"]),
                *(str(layer[kind]) for kind in kinds),
            ]
            for layer in wide
        ]
        narrow = [layer for layer in network["convolutions"] if layer["kernel"] == 1]
        spans = [f"{min(found)} to {max(found)}" for kind in kinds if (found := [x[kind] for x in narrow])]
        edges = [layer["edge"] for layer in narrow]
        total = sum(layer["count"] for layer in narrow)
        lines.append([f"1^3, {total} of them", f"{min(edges)} to {max(edges)}", "1", *spans])
        whole = [network["network"][kind] for kind in kinds]
        lines.append(["whole network (ms)", "", "", *(str(one["ms"]) for one in whole)])
        shares = [f"{100 * one['not convolutions']:.0f} %" for one in whole]
        lines.append(["of it not convolutions", "", "", *shares])
        peak = rows["peak"]
        titles = [
            f"{letter(rows)}: convolution",
            "edge of its output",
            "times",
            "float32 forward",
            "and backward",
            "bfloat16 forward",
            "and backward",
        ]
        lines.append(
            ["product of matrices of 2048 squared", "", "", str(peak["fp32"]), "", str(peak["bf16"]), ""]
        )
        tables.append(table(markdown(titles, lines), {name: rows}))
    return "\n\n".join(tables)


def variants() -> str:
    """Of both networks where there are figures of both."""
    tables = []
    for name in ("convolutions_amx", "convolutions"):
        rows = read(name)
        networks = {key: title for key, title in NETWORKS.items() if "variants" in rows[key]}
        titles = [
            f"{title}: {what}"
            for title in networks.values()
            for what in ("step (ms)", "a tile of 96 voxels (ms)")
        ]
        lines = []
        for key, label in VARIANTS.items():
            found = [rows[n]["variants"].get(f"{what}: {key}") for n in networks for what in ("step", "tile")]
            if any(value is not None for value in found):
                lines.append([label, *("" if value is None else f"{value:.0f}" for value in found)])
        tables.append(table(markdown([f"{letter(rows)}: one thing changed", *titles], lines), {name: rows}))
    return "\n\n".join(tables)


def refine() -> str:
    parts = {name: read(name) for name in ("refine_speed_amx", "refine_speed")}
    titles = [
        f"{letter(rows)}: {what}"
        for rows in parts.values()
        for what in ("voxels a second (millions)", "against plain")
    ]
    lines = []
    for key, labels in REFINEMENTS.items():
        cells = []
        for rows in parts.values():
            compare = rows["compare"]
            cells.append(f"{compare['voxels_per_second'][key] / 1e6:.2f}")
            cells.append(digits(compare["ratio_to_plain"][key]))
        lines.append([*labels, *cells])
    return table(markdown(["", "predictions a tile", *titles], lines), parts)


def refine_memory() -> str:
    parts = {name: read(name) for name in ("refine_speed_amx", "refine_speed")}
    columns = [{tuple(row["shape_zyx"]): row for row in rows["memory"]} for rows in parts.values()]
    lines = []
    for shape in sorted({shape for column in columns for shape in column}):
        of = [column.get(shape) for column in columns]
        file_MB = next(row["file_MB"] for row in of if row)
        size = " x ".join(map(str, shape))
        lines.append([size, str(file_MB), *("" if row is None else str(row["anonymous_MB"]) for row in of)])
    titles = ["z x y x x", "file (MB)", "whole sections, tiles of 96", "columns, tiles of 128"]
    return table(markdown(titles, lines), parts)


def start_up() -> str:
    rows = read("start_up")
    lines = [
        [
            f'`python -c "{name}"`' if name.startswith("import") else f"`{name}`",
            f"{row['cpu_s']:.2f}",
            f"{row['wall_s']:.2f}",
            "yes" if row["torch"] else "no",
        ]
        for name, row in rows["commands"].items()
    ]
    titles = ["command", "processor time (s)", "by the clock (s)", "imports torch"]
    return table(markdown(titles, lines), {"start_up": rows})


def memory() -> str:
    rows = read("memory")
    lines = [
        [
            "none" if each["limit_GB"] is None else f"{each['limit_GB']:g} GB",
            stage["stage"],
            f"{stage['seconds']:.0f}",
            *(f"{stage[key]:.2f}" for key in ("own_GB", "mapped_GB", "both_GB")),
        ]
        for each in rows
        for stage in each["stages"]
    ]
    titles = ["limit", "stage", "seconds", "its own (GB)", "mapped files (GB)", "both (GB)"]
    return table(markdown(titles, lines), {"memory": several(rows) | {"cores": rows[0]["cores"]}})


def contention() -> str:
    rows = read("contention")
    names = list(next(iter(rows["rates"].values())))
    lines = [
        [what, *(", ".join(f"{rate:.1f}" for rate in rates[name]) for name in names)]
        for what, rates in rows["rates"].items()
    ]
    titles = [f"before ({rows['before']})" if name == "before" else name for name in names]
    return table(markdown(["", *titles], lines), {"contention": rows})


def zarr() -> str:
    rows = read("zarr_speed")
    mrc = rows["formats"]["MRC"]

    def against(row: dict[str, Any], key: str) -> str:
        return f"{row[key]:.2f}" + ("" if row is mrc else f" ({row[key] / mrc[key]:.0f} x)")

    titles = [
        "format",
        "write",
        "size (MB)",
        "files",
        "all sections",
        "200 boxes of 83 cubed",
        "the same, one layer of chunks kept",
        "bands of 128 rows",
        "memory: sections, boxes, one layer, bands",
    ]
    lines = [
        [
            name,
            against(row, "write"),
            f"{row['MB']:.0f}",
            str(row["files"]),
            *(against(row, key) for key in ("sections", "boxes", "few kept", "bands")),
            ", ".join(f"{row[f'{key} MB']:.0f}" for key in ("sections", "boxes", "few kept", "bands")),
        ]
        for name, row in rows["formats"].items()
    ]
    return table(markdown(titles, lines), {"zarr_speed": rows})


def letter(rows: Row) -> str:
    """The name that the page has for a machine."""
    return LETTERS.get(rows["machine"], str(rows["machine"]))


def digits(value: float) -> str:
    """With a decimal below 25, where one was noted."""
    return f"{value:.0f}" if value >= 25 or isinstance(value, int) else f"{value:.1f}"


TABLES = {
    "whole_job": whole_job,
    "whole_job_scores": whole_job_scores,
    "projection": projection,
    "growth": growth,
    "blocks": blocks,
    "fit": fit,
    "fit_steps": fit_steps,
    "convolutions": convolutions,
    "variants": variants,
    "refine": refine,
    "refine_memory": refine_memory,
    "start_up": start_up,
    "memory": memory,
    "contention": contention,
    "zarr": zarr,
}
