"""The tables of docs/notebook/ablation.md: each change beside its reference, seed by seed, with a verdict."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from ablation import CHOICES, COMBINATIONS, DEPARTURES, DROPPED, IDEAS, OF_DEFAULT, STARTS, Settings
from cells import REALISTIC_SCORES, SHELLS, TITLES, Rows, mean, mean_sd, scores_table, snr_name, values
from jobs import GROUNDS, JOBS, REAL, TABLES, Job, chosen_on
from markers import markdown
from tables import alike

MIN_FREEDOM = 4  # of a spread, for a verdict by it


Score = Callable[[Mapping[str, Any]], float | None]  # of a row; a resolution can be missing


class Scale(NamedTuple):
    """The score by which changes are judged, its title, and those that stand beside it, with decimals."""

    title: str
    judged: Score
    beside: Mapping[str, tuple[Score, int]]


def of_name(name: str, row: Mapping[str, Any]) -> float | None:
    return row[name]


def of_shell(number: int, row: Mapping[str, Any]) -> float | None:
    return row["explained"][number]


def mean_explained(row: Mapping[str, Any]) -> float:
    """Mean explained power of the shells in which something was measured."""
    return statistics.fmean(value for value in row["explained"] if value is not None)


def with_truth(names: Sequence[str]) -> Scale:
    beside = {TITLES[name]: (partial(of_name, name), REALISTIC_SCORES[name]) for name in names}
    return Scale(TITLES["cc"], partial(of_name, "cc"), beside)


SIMULATED = with_truth(("cc_outside", "cc_inside", "fsc_inside"))
REALISTIC_SCALE = with_truth(("cc_outside", "cc_inside", "fsc_inside", "z_to_x"))
WITHHELD = Scale(
    "mean explained",
    mean_explained,
    {f"explained {name}": (partial(of_shell, i), 2) for i, name in enumerate(SHELLS)},
)


def screen(size: str, rows: Rows) -> str:
    return against_reference(size, rows, "screen", "bfloat16", "deepdewedge, float32")


def departures(size: str, rows: Rows) -> str:
    return against_reference(size, rows, "departures", "", "dewedge")


def chosen(size: str, rows: Rows) -> str:
    """A table for each kind of data, the real series first."""
    parts = []
    for name, ground in GROUNDS.items():
        jobs = list(chosen_on(ground, size))
        groups = {change: alike(jobs, change=change) for change in ("", *ground.changes)}
        scale = WITHHELD if ground.specimen in REAL else REALISTIC_SCALE
        text = of_groups(groups, rows, "", "dewedge", scale)
        parts += [f"{name}:", text] if text else []
    return "\n\n".join(parts)


def confirm(size: str, rows: Rows) -> str:
    return against_reference(size, rows, "confirm", "bfloat16", "")


def dropped(size: str, rows: Rows) -> str:
    """A table against the published recipe, one against the default."""
    parts = []
    for method, reference in (("deepdewedge", "bfloat16"), ("dewedge", "")):
        jobs = alike(JOBS["dropped"](size), method=method)
        changes = dict.fromkeys(one.change for one in jobs)
        groups = {change: alike(jobs, change=change) for change in changes}
        parts.append(of_groups(groups, rows, reference, method))
    return "\n\n".join(part for part in parts if part)


def init(size: str, rows: Rows) -> str:
    """Scores by the budget of the fit and the weights that it starts from."""
    jobs = list(TABLES["init"](size))
    kinds = sorted(
        {(one.snr, one.budget_s, one.change) for one in jobs}, key=lambda kind: (-kind[0], kind[1:])
    )
    groups = [
        (
            [snr_name(snr), f"{budget_s:g}", change or "random weights"],
            alike(jobs, snr=snr, budget_s=budget_s, change=change),
        )
        for snr, budget_s, change in kinds
    ]
    return scores_table(["SNR", "budget (s)", "start"], groups, rows)


def against_reference(size: str, rows: Rows, table: str, reference: str, unchanged: str) -> str:
    """A table for each SNR, sorted by the difference in CC; ``unchanged`` names the job without a change."""
    jobs = list(TABLES[table](size))
    snrs = list(dict.fromkeys(one.snr for one in jobs))
    parts = []
    for snr in snrs:
        groups = {
            change: alike(jobs, snr=snr, change=change)
            for change in dict.fromkeys(one.change for one in jobs)
        }
        text = of_groups(groups, rows, reference, unchanged)
        if text:
            parts += [f"SNR {snr_name(snr)}:", text] if len(snrs) > 1 else [text]
    return "\n\n".join(parts)


def of_groups(
    groups: Mapping[str, Sequence[Job]],
    rows: Rows,
    reference: str,
    unchanged: str,
    scale: Scale = SIMULATED,
) -> str:
    """One table of the jobs of each change, and the spread that its verdicts were measured with."""
    base = groups[reference]
    differences = {
        change: paired_differences(jobs, base, rows, scale.judged)
        for change, jobs in groups.items()
        if change != reference
    }
    spread, freedom = pooled_sd(list(differences.values()))
    shown = [change for change, jobs in groups.items() if any(job in rows for job in jobs)]
    shown.sort(key=lambda change: -statistics.fmean(differences.get(change) or [0.0]))
    lines = []
    for change in shown:
        jobs = groups[change]
        judged = scores(rows, jobs, scale.judged)
        pairs = differences.get(change, [])
        name = change or unchanged
        lines.append([
            f"**{name}** (reference)" if change == reference else name,
            mean_sd(judged, len(jobs), 3),
            ", ".join(f"{value:.3f}" for value in judged),
            f"{statistics.fmean(pairs):+.3f}" if pairs else "",
            *(mean_sd(scores(rows, jobs, of), len(jobs), digits) for of, digits in scale.beside.values()),
            mean(values(rows, jobs, "samples")),
            "" if change == reference else verdict(pairs, spread, freedom),
        ])  # fmt: skip
    titles = ["change", scale.title, "seeds", "difference", *scale.beside]
    text = markdown([*titles, "samples", "verdict"], lines)
    if text and not math.isnan(spread):
        text += f"\n\nPooled standard deviation of the differences in {scale.title}: {spread:.4f}"
        text += f", degrees of freedom: {freedom}."
    return text


def scores(rows: Rows, jobs: Sequence[Job], of: Score) -> list[float]:
    """What the rows that exist have of a score."""
    found = [of(rows[job]) for job in jobs if job in rows]
    return [value for value in found if value is not None]


def paired_differences(
    jobs: Sequence[Job], base: Sequence[Job], rows: Rows, of: Score = SIMULATED.judged
) -> list[float]:
    """A score less that of the reference, for the seeds that have both, computed by the same code."""
    pairs = [(rows.get(job), rows.get(other)) for job, other in zip(jobs, base, strict=True)]
    found = [
        (of(one), of(other)) for one, other in pairs if one and other and one["commit"] == other["commit"]
    ]
    return [one - other for one, other in found if one is not None and other is not None]


def pooled_sd(differences: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Standard deviation over seeds, pooled over all changes, and its degrees of freedom; nan for none."""
    several = [group for group in differences if len(group) > 1]
    freedom = sum(len(group) - 1 for group in several)
    squares = sum((value - statistics.fmean(group)) ** 2 for group in several for value in group)
    return (math.sqrt(squares / freedom) if freedom else math.nan), freedom


def verdict(differences: Sequence[float], spread: float, freedom: int) -> str:
    """Beyond the spread: further from zero than twice the pooled deviation, all seeds on one side."""
    if len(differences) < 2 or freedom < MIN_FREEDOM:
        return "too few seeds"
    one_side = all(value > 0 for value in differences) or all(value < 0 for value in differences)
    difference = statistics.fmean(differences)
    if not one_side or abs(difference) <= 2 * spread:
        return "within the spread"
    return "better" if difference > 0 else "worse"


def settings(size: str, rows: Rows) -> str:
    """What each name means and sets."""
    titles = {
        "published recipe": IDEAS,
        "default": DEPARTURES | STARTS | CHOICES,
        "published recipe, combined": COMBINATIONS,
        "published methods": OF_DEFAULT,
        "published recipe, dropped": DROPPED["deepdewedge"],
        "default, dropped": DROPPED["dewedge"],
    }
    lines = [
        [against, name, change.meaning, written(change.settings)]
        for against, changes in titles.items()
        for name, change in changes.items()
    ]
    return markdown(["against", "change", "in words", "settings"], lines)


def written(sections: Settings) -> str:
    parts = [
        f"{section}.{key} = {value}" for section, keys in sections.items() for key, value in keys.items()
    ]
    return f"`{', '.join(parts)}`"
