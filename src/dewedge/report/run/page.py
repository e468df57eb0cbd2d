"""The page of one tomogram of a run: all that is known of it, for people."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from html import escape
from pathlib import Path

from dewedge.geometry import Floats, TiltRange
from dewedge.learn.loss_curve import EpochRow
from dewedge.report.figure import dispensable, image_tag, png
from dewedge.report.loss import loss_figure
from dewedge.report.page import filled, part
from dewedge.report.run.sections import Sections
from dewedge.report.run.spectra import spectra_figures
from dewedge.report.run.viewer import viewer
from dewedge.report.trust.judged import Judged
from dewedge.report.trust.part import Lengths
from dewedge.runtime.log import duration
from dewedge.runtime.logged import Logged
from dewedge.scores.anisotropy import Weave, WedgePower
from dewedge.scores.cross_half import CrossHalfScores
from dewedge.settings.file import Difference

REFRESH_S = 20
CITATION = """\
S. Wiedemann and R. Heckel. A deep learning method for simultaneous denoising and missing wedge
reconstruction in cryogenic electron tomography. Nature Communications 15, 8255 (2024).

@article{wiedemann2024,
  author  = {Wiedemann, Simon and Heckel, Reinhard},
  title   = {A deep learning method for simultaneous denoising and missing wedge reconstruction
             in cryogenic electron tomography},
  journal = {Nature Communications},
  volume  = {15},
  pages   = {8255},
  year    = {2024}
}"""


@dataclass(frozen=True)
class State:
    """State of a run that is not finished.

    Parameters
    ----------
    sentence, advice
        Where it stands, and what to do or to expect.
    progress
        Share of the fit that is done, 0 to 1; None where that is not known.
    goes_on
        Whether the page is to load itself again.
    """

    sentence: str
    advice: str
    progress: float | None = None
    goes_on: bool = False


@dataclass(frozen=True, eq=False)
class RunPage:
    """Contents of the page.

    Parameters
    ----------
    name
        Of the tomogram.
    shape_zyx, voxel_size_A, tilt_range
        Of the tomogram; None if not known.
    volumes
        Sections of the reconstruction and of the refined tomogram, by title; the first alone before the fit,
        and of the middle alone while that goes on.
    state
        None for a finished run.
    judged
        None where `dewedge trust` was not asked.
    checked
        Whether the input was checked.
    log
        What the log tells.
    rows
        The loss curve.
    has_half_sets
        Whether they are there.
    half_sets, held_out
        Scores from half-sets, and whether in a region that the fit has not seen; None where these were not
        refined alone.
    wedge, weave
        Anisotropy of both volumes, by title.
    settings
        That differ from the default.
    files
        Names of the input files.
    """

    name: str
    shape_zyx: Sequence[int]
    voxel_size_A: float | None
    tilt_range: TiltRange | None
    volumes: Mapping[str, Sections]
    state: State | None = None
    judged: Judged | None = None
    checked: bool = True
    log: Logged = field(default_factory=Logged)
    rows: Sequence[EpochRow] = ()
    half_sets: CrossHalfScores | None = None
    has_half_sets: bool = True
    held_out: bool = False
    wedge: Mapping[str, WedgePower] = field(default_factory=dict)
    weave: Mapping[str, Weave] = field(default_factory=dict)
    settings: Sequence[Difference] = ()
    files: Sequence[str] = ()

    @property
    def lengths(self) -> Lengths:
        """Resolutions of frequencies, by the voxel size."""
        return Lengths(self.voxel_size_A)


def page(run: RunPage, where: Path) -> str:
    """The page as HTML, which holds everything and needs nothing else to be read.

    Parameters
    ----------
    where
        The page's own file, for messages.
    """
    html, pictures = viewer(run.volumes, run.voxel_size_A)
    return filled(
        "run_page.html",
        title=escape(run.name),
        facts=escape(_facts(run)),
        refresh=refresh(run.state is not None and run.state.goes_on),
        viewer_style=part("viewer.css"),
        state=_state(run.state),
        verdict=_verdict(run.judged, run.state),
        viewer=html,
        warnings=_warnings(run),
        spectra=_spectra(run, where),
        loss=_loss(run, where),
        told="\n".join(f"<p>{text}</p>" for text in _told(run)) + _half_sets_table(run),
        anisotropy=_anisotropy(run),
        settings=_settings(run.settings),
        made=_made(run),
        citation=escape(CITATION),
        pictures=pictures,
        script=part("viewer.js"),
    )


def _facts(run: RunPage) -> str:
    size = "voxel size not known" if run.voxel_size_A is None else f"{run.voxel_size_A:.4g} Å per voxel"
    facts = f"{' x '.join(map(str, run.shape_zyx))} voxels (z, y, x), {size}"
    if run.tilt_range is None:
        return facts
    return f"{facts}, tilts {run.tilt_range}"


def refresh(goes_on: bool) -> str:
    """Element of HTML that makes a page load itself again; empty if it is not to."""
    return f'<meta http-equiv="refresh" content="{REFRESH_S}">' if goes_on else ""


def _state(state: State | None) -> str:
    if state is None:
        return ""
    bar = ""
    if state.progress is not None:
        share = f"{state.progress:.0%}"
        bar = f'<progress max="1" value="{state.progress:.3f}" aria-label="of the fit">{share}</progress>'
    return (
        f'<div class="live"><p class="sentence">{escape(state.sentence)}</p>{bar}'
        f"<p>{escape(state.advice)}</p></div>"
    )


def _verdict(judged: Judged | None, state: State | None) -> str:
    if judged is not None:
        verdict = judged.verdict
        link = f' <a href="{judged.page}">How that was found out</a>.' if judged.page else ""
        return (
            f'<div class="verdict {verdict.level}"><p class="sentence">{escape(verdict.sentence)}</p>'
            f"<p>{escape(verdict.advice)}{link}</p></div>"
        )
    if state is not None:
        return ""
    return (
        '<div class="verdict unknown"><p>What fills the missing wedge is a prediction. How far to believe it '
        "was not asked: <code>dewedge trust</code> asks.</p></div>"
    )


def _warnings(run: RunPage) -> str:
    if run.log.warnings:
        return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in run.log.warnings) + "</ul>"
    if not run.checked:
        return "<p>The input was not checked (--no-check): <code>dewedge check</code> does it.</p>"
    return "<p>None.</p>"


def _spectra(run: RunPage, where: Path) -> str:
    tilt_range = run.tilt_range
    if tilt_range is None:
        return "<p>The tilt range is not known.</p>"
    sections = {name: found.images["xz"] for name, found in run.volumes.items()}
    with dispensable(where):
        figures = spectra_figures(sections, tilt_range, run.voxel_size_A)
        text = (
            f"power spectrum in kx and kz, with lines along tilts of {tilt_range.min_deg:.3g} and "
            f"{tilt_range.max_deg:.3g} degrees, above and below which nothing was measured"
        )
        images = [
            image_tag(png(partial(figures.__getitem__, name), where), f"{name}: {text}") for name in figures
        ]
        return f'<div class="pair">{"".join(images)}</div>'
    return "<p>They could not be drawn.</p>"


def _loss(run: RunPage, where: Path) -> str:
    if not run.rows:
        return "<p>There is none yet.</p>"
    last = run.rows[-1]
    held_out = [row.validation_loss for row in run.rows if row.validation_loss is not None]
    sentence = f"{last.epoch} epochs, {last.samples:,} sub-tomograms in {duration(last.seconds)}."
    if held_out:
        sentence += (
            f" On the region held out of the fit it went from {held_out[0]:.3f} to {held_out[-1]:.3f}, "
            f"{min(held_out):.3f} at the lowest. Most of it is noise, which no network predicts, so it ends "
            "far above zero; a rise towards the end would mean that the fit learns noise by heart."
        )
    figure = image_tag(
        png(lambda: loss_figure(run.rows), where), "Loss by time: of the fit, of the held-out region"
    )
    return f'<p>{sentence}</p><div class="curve">{figure}</div>'


def _told(run: RunPage) -> list[str]:
    """Sentences on half-sets and on tilts kept back."""
    if run.state is not None:
        return ["They are asked when a run is finished."]
    texts = []
    scores = run.half_sets
    if not run.has_half_sets:
        texts.append(
            "The half-sets were not kept: <code>dewedge run --resume --half-sets keep -o FOLDER</code> makes "
            "them again, without a fit."
        )
    elif scores is None:
        texts.append(
            "The half-sets were not refined alone: <code>dewedge evaluate</code> does, then "
            "<code>dewedge report</code> tells of it here."
        )
    else:
        where = "the region held out of the fit" if run.held_out else "all of it, which the fit has seen"
        texts.append(
            f"Each half-set, refined alone, held against the other as measured, in {where}: the error is "
            f"{scores.error_ratio:.2f} of that of the raw half-sets (0.5 for the specimen itself), the "
            f"correlation with what both share {_number(scores.cc_signal)}."
        )
    if run.judged is not None and run.judged.withheld:
        texts += [escape(sentence) for sentence in run.judged.withheld]
    else:
        texts.append("No tilts were kept back: <code>dewedge trust</code> does that, by one more fit.")
    return texts


def _half_sets_table(run: RunPage) -> str:
    scores = run.half_sets
    if scores is None:
        return ""
    columns = {f"within 40° of {axis}": found.signal for axis, found in scores.directions.items()}
    return "<p>Correlation with the signal, by direction and resolution:</p>" + _shell_table(
        run.lengths, scores.edges_per_voxel, columns
    )


def _anisotropy(run: RunPage) -> str:
    if not run.wedge:
        return "<p>It is measured of the refined tomogram.</p>"
    wedge = {f"{_short(name)}, in the wedge": found.inside for name, found in run.wedge.items()}
    turned = {f"{_short(name)}, about x": found.rotated for name, found in run.wedge.items()}
    weave = {_short(name): found.axes for name, found in run.weave.items()}
    edges = next(iter(run.wedge.values())).edges_per_voxel
    fine = next(iter(run.weave.values())).edges_per_voxel
    return (
        "<p>Power of a middle block within the missing wedge over that of well-measured directions. Matter "
        "of all directions has about 1, a cell in a thin slab about 0.85, a reconstruction nothing. About x "
        "there was no wedge: a low figure there was made by the network.</p>"
        f"{_shell_table(run.lengths, edges, wedge | turned)}"
        "<p>Weave: power along x and y over that along the diagonals between them. Where the refined "
        "tomogram is far from its reconstruction, a texture runs along the axes (above) or across them "
        "(below).</p>"
        f"{_shell_table(run.lengths, fine, weave)}"
    )


def _short(name: str) -> str:
    """The title of a volume without what was done to it."""
    return name.partition(",")[0]


def _shell_table(lengths: Lengths, edges: Sequence[float], columns: Mapping[str, Floats]) -> str:
    """Figures by resolution, a row a shell."""
    head = "".join(f'<th scope="col" class="number">{escape(name)}</th>' for name in columns)
    rows = "".join(
        f'<tr><th scope="row">{lengths.of(low):.0f} to {lengths.of(high):.0f}</th>'
        + "".join(f'<td class="number">{_number(values[i])}</td>' for values in columns.values())
        + "</tr>"
        for i, (low, high) in enumerate(itertools.pairwise(edges))
    )
    return _wide(
        f'<thead><tr><th scope="col">Resolution ({lengths.unit})</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody>",
        "figures by resolution",
    )


def _settings(settings: Sequence[Difference]) -> str:
    if not settings:
        return "<p>None.</p>"
    rows = "".join(
        f'<tr><th scope="row">{escape(one.key)}</th><td class="key">{escape(_value(one.value))}</td>'
        f'<td class="key">{escape(_value(one.default))}</td><td class="what">{escape(one.help)}</td></tr>'
        for one in settings
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Key", "Here", "Default"))
    head += '<th scope="col" class="what">What it is</th>'
    return _wide(f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody>", "settings that differ")


def _made(run: RunPage) -> str:
    rows = dict(run.log.facts)
    if run.files:
        rows["input"] = ", ".join(run.files)
    rows |= {name: f"{time}, peak memory {memory}" for name, time, memory in run.log.steps}
    return "\n".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="key">{escape(text)}</td></tr>'
        for name, text in rows.items()
    )


def _wide(table: str, label: str) -> str:
    """A table that scrolls by itself, by keys, too, where it is wider than the page."""
    return f'<div class="wide" tabindex="0" role="region" aria-label="{label}"><table>{table}</table></div>'


def _value(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_value, value)) or "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "-"
