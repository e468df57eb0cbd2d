"""The viewer of a page: sections of one or two volumes, with their sliders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape

from dewedge.report.figure import length_text, round_length
from dewedge.report.run.sections import ACROSS, Sections, View, pictures, shares

# Of a section: the axis to the right, and that upwards.
AXES: Mapping[View, tuple[str, str]] = {"xy": ("x", "y"), "xz": ("x", "z"), "yz": ("z", "y")}
ROLES = ("before", "after")


def viewer(volumes: Mapping[str, Sections], voxel_size_A: float | None) -> tuple[str, str]:
    """HTML of the viewer, and JSON of all its pictures for its script.

    Parameters
    ----------
    volumes
        Sections of one volume, or of two of one shape at the same places, by title.
    voxel_size_A
        For the scale bar; there is none if it is not known.
    """
    first = next(iter(volumes.values()))
    depth, _, width = first.shape_zyx
    shown = {role: pictures(sections) for role, sections in zip(ROLES, volumes.values(), strict=False)}
    names = dict(zip(shown, volumes, strict=True))
    axes = {
        "xyz"[2 - axis]: shares(first.places[view], first.shape_zyx[axis])[first.middle[view]]
        for view, axis in ACROSS.items()
    }
    style = "; ".join(f"--{name}: {share:.3%}" for name, share in axes.items())
    share = width / (width + depth)
    figures = "\n".join(
        _figure(role, names[role], views, first, voxel_size_A) for role, views in shown.items()
    )
    layout = " wipe" if len(shown) == 2 else ""
    html = (
        f"{_controls(names, first)}\n"
        f'<div class="volumes{layout}" id="volumes" style="{style}; --wipe: 50%; --xy-share: {share:.3%}">\n'
        f"{figures}\n</div>"
    )
    return html, json.dumps(shown)


def _controls(names: Mapping[str, str], sections: Sections) -> str:
    parts = []
    if len(names) == 2:
        choices = "".join(
            f'<label><input type="radio" name="layout" value="{value}"{checked}> {text}</label>'
            for value, text, checked in (("wipe", "wipe", " checked"), ("beside", "side by side", ""))
        )
        parts.append(f"<fieldset><legend>Layout</legend>{choices}</fieldset>")
        parts.append(
            '<label><span>line</span><input type="range" id="wipe" min="0" max="100" value="50" '
            f'data-before="{escape(names["before"])}"></label>'
        )
    for view, axis in ACROSS.items():
        places, n = sections.places[view], sections.shape_zyx[axis]
        name = "xyz"[2 - axis]
        if len(places) < 2:
            continue
        parts.append(
            f'<label><span>{name} of {view}</span><input type="range" data-view="{view}" data-axis="{name}" '
            f'min="0" max="{len(places) - 1}" value="{sections.middle[view]}" data-of="{n}" '
            f'data-places="{" ".join(str(place + 1) for place in places)}" '
            f'data-shares="{" ".join(map(str, shares(places, n)))}">'
            f'<output id="at-{view}"></output></label>'
        )
    parts.append('<label><input type="checkbox" id="places" checked> where the sections lie</label>')
    return f'<div class="controls screen">{"".join(parts)}</div>'


def _figure(
    role: str,
    name: str,
    views: Mapping[View, list[str]],
    sections: Sections,
    voxel_size_A: float | None,
) -> str:
    depth, _, width = sections.shape_zyx
    columns = f"minmax(0, {width}fr) minmax(0, {depth}fr)"
    panels = "".join(_panel(view, name, views[view], sections, voxel_size_A) for view in AXES)
    return (
        f'<figure class="{role}"><figcaption>{escape(name)}</figcaption>'
        f'<div class="sections" style="grid-template-columns: {columns}">{panels}</div></figure>'
    )


def _panel(
    view: View, name: str, addresses: list[str], sections: Sections, voxel_size_A: float | None
) -> str:
    sizes = dict(zip("zyx", sections.shape_zyx, strict=True))
    right, up = AXES[view]
    middle = sections.middle[view]
    place = int(sections.places[view][middle]) + 1
    bar = ""
    if view == "xy" and voxel_size_A is not None:
        length_A = round_length(sizes[right] * voxel_size_A / 4)
        share = length_A / voxel_size_A / sizes[right]
        bar = f'<span class="bar" style="width: {share:.3%}">{length_text(length_A)}</span>'
    return (
        f'<div class="section {view}" style="aspect-ratio: {sizes[right]} / {sizes[up]}">'
        f'<img alt="{escape(name)}: {view} section {place}" src="{addresses[middle]}" draggable="false">'
        f'<i class="place up" style="left: var(--{right})"></i>'
        f'<i class="place across" style="bottom: var(--{up})"></i>'
        f'<i class="edge"></i><span class="name">{view}</span>{bar}</div>'
    )
