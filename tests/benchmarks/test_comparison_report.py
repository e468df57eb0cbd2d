"""The pages made from rows: what is kept, what is replaced, which verdicts follow."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cells
import pytest
import tables
import verdicts
from ablation import CHANGES, DROPPED, SAME_NETWORK
from jobs import JOBS, METHODS, REAL, SNRS, TABLES, Job, is_realistic, job
from markers import with_blocks
from methods import configuration
from report import PAGES, write_pages
from rows import add_row, job_of, read_rows, volume_file

from dewedge.settings.recipes import read_recipe
from dewedge.settings.sections import Config

ROOT = Path(__file__).parents[2]

PEER = next(method for method in METHODS if tables.is_peer(method))


def row(one: Job, cc: float, **values: Any) -> dict[str, Any]:
    scores = {"cc": cc, "cc_outside": cc + 0.1, "cc_inside": cc - 0.1, "fsc": 30.04, "fsc_inside": 90.0}
    cost = {"samples": 1500, "seconds": one.budget_s, "wall_s": 1.0, "refine_s": 1.0}
    code = {"commit": "abc1234", "torch": "2", "machine": "x", "selected_by_truth": False}
    return {**asdict(one), **cost, **scores, **code, **values}


def made_up(*rows: dict[str, Any]) -> cells.Rows:
    return {job_of(values): values for values in rows}


def test_a_cell_is_mean_and_deviation_and_says_how_many_seeds_are_missing() -> None:
    assert cells.mean_sd([0.5, 0.7], 2, 3) == "0.600 ± 0.141"
    assert cells.mean_sd([0.5, 0.7], 3, 3) == "0.600 ± 0.141 (2 seeds)"
    assert cells.mean_sd([30.04], 3, 1) == "30.0 (1 seed)"
    assert cells.mean_sd([], 3, 1) == ""


def test_rows_come_back_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.json"
    first, second = (row(job("small", "fbp", seed=seed), 0.3) for seed in (1, 2))
    assert read_rows(path) == []
    add_row(path, first)
    add_row(path, second)
    assert read_rows(path) == [first, second]
    assert [job_of(values).seed for values in read_rows(path)] == [1, 2]
    again = first | {"cc": 0.31}
    elsewhere = first | {"machine": "y"}
    add_row(path, again)
    add_row(path, elsewhere)
    assert read_rows(path) == [second, again, elsewhere]


def test_figure5_leaves_out_what_has_no_rows_and_sets_the_references_apart() -> None:
    rows = made_up(
        row(job("small", "dewedge", seed=1), 0.8),
        row(job("small", "dewedge", seed=2), 0.82),
        row(job("small", "oracle", seed=1), 0.9),
        row(job("small", "cryocare", seed=1), 0.6, selected_by_truth=True),
        row(job("small", PEER, seed=1), 0.5, fsc=None),
        row(job("small", "dewedge", seed=11), 0.1),  # not of this table
    )
    table = tables.figure5("small", rows)
    lines = table.splitlines()
    assert lines[0] == "| CC | SNR 1/2 | SNR 1/4 | SNR 1/6 |"
    methods = [line.split(" | ")[0][2:] for line in lines[2:6]]
    assert methods == [f"{PEER} ‡", "cryocare †", "dewedge", "*oracle*"]
    assert lines[4] == "| dewedge |  | 0.810 ± 0.014 (2 seeds) |  |"
    assert "SNR 1/4:" in table and "SNR 1/2:" not in table
    assert f"| {PEER} ‡ | 0.500 (1 seed) | 0.600 (1 seed) | 0.400 (1 seed) |  | 90.0 (1 seed) |" in table
    assert "fbp" not in table


def test_realistic_specimens_have_two_tables_each_and_shells_without_a_frequency_are_left_out() -> None:
    jobs = tables.alike(
        TABLES["realistic"]("small"), specimen="lamella, axis refined", method="dewedge", change=""
    )
    assert [one.size for one in jobs] == ["realistic"] * 3
    shells = [{"shells_outside": [None, 0.8, 0.6, 0.4], "shells_inside": [value] * 4} for value in (0.1, 0.3)]
    rows = made_up(*(row(one, 0.5, z_to_x=1.1, **more) for one, more in zip(jobs, shells, strict=False)))
    lines = tables.realistic("small", rows).splitlines()
    assert [line for line in lines if line.endswith(":")] == lines[:1] == ["lamella, axis refined:"]
    assert lines[2].startswith("| method | CC | CC outside | CC inside | FSC (A) | FSC inside (A) | z : x |")
    assert lines[4].split(" | ")[6] == "1.10 ± 0.00 (2 seeds)"
    assert lines[6].startswith("| method | outside 0.02-0.04 | outside 0.04-0.06 |")
    cells_of_shells = lines[8].split(" | ")
    assert cells_of_shells[:3] == ["| dewedge", "", "0.80 ± 0.00 (2 seeds)"]
    assert cells_of_shells[5:6] == ["0.20 ± 0.14 (2 seeds)"]
    assert lines[9:] == []


def test_the_joint_fit_stands_beside_the_single_one() -> None:
    rows = made_up(*(row(one, 0.8 if one.tomograms == 1 else 0.7) for one in TABLES["joint"]("small")))
    assert tables.joint("small", {one: rows[one] for one in rows if one.tomograms == 1}) == ""
    first = [line.split(" | ")[:3] for line in tables.joint("small", rows).splitlines()[2:]]
    assert first == [
        ["| one each", "3", "0.800 ± 0.000"],
        ["| one for all", "1", "0.700 ± 0.000"],
        ["| one for all", "3", "0.700 ± 0.000"],
    ]


def test_a_verdict_needs_twice_the_spread_and_all_seeds_on_one_side() -> None:
    assert verdicts.verdict([0.03, 0.05], 0.01, 4) == "better"
    assert verdicts.verdict([-0.03, -0.05], 0.01, 4) == "worse"
    assert verdicts.verdict([0.03, 0.05], 0.02, 4) == "within the spread"
    assert verdicts.verdict([-0.001, 0.1], 0.01, 4) == "within the spread"
    assert verdicts.verdict([0.3], 0.01, 4) == "too few seeds"
    assert verdicts.verdict([0.03, 0.05], 0.01, 3) == "too few seeds"  # to know the spread


def test_the_pooled_deviation_is_that_of_every_change_about_its_own_mean() -> None:
    spread, freedom = verdicts.pooled_sd([[1.0, 3.0], [10.0, 10.0, 10.0], [7.0]])
    assert (spread, freedom) == (pytest.approx(math.sqrt(2 / 3)), 3)
    assert math.isnan(verdicts.pooled_sd([[1.0], []])[0])


def test_the_screen_compares_seed_by_seed_and_is_sorted() -> None:
    def screened(change: str, *scores: float) -> list[dict[str, Any]]:
        jobs = tables.alike(TABLES["screen"]("small"), change=change)
        return [row(one, cc) for one, cc in zip(jobs, scores, strict=False)]

    rows = made_up(
        *screened("bfloat16", 0.5, 0.6),  # seeds differ by 0.1, differences by 0.002
        *screened("no residual", 0.571, 0.669),
        *screened("clipping", 0.502, 0.600),
        *screened("Muon", 0.522, 0.620),
        *screened("rate 1e-3", 0.512, 0.610),
        *screened("wedge weight 20", 0.45),
    )
    lines = verdicts.screen("small", rows).splitlines()
    cut = [[line.split(" | ")[i] for i in (0, 2, 3, -1)] for line in lines[2:8]]
    assert cut == [
        ["| no residual", "0.571, 0.669", "+0.070", "better |"],
        ["| Muon", "0.522, 0.620", "+0.021", "better |"],
        ["| rate 1e-3", "0.512, 0.610", "+0.011", "better |"],
        ["| clipping", "0.502, 0.600", "+0.001", "within the spread |"],
        ["| **bfloat16** (reference)", "0.500, 0.600", "", " |"],
        ["| wedge weight 20", "0.450", "-0.050", "too few seeds |"],
    ]
    assert lines[-1] == "Pooled standard deviation of the differences in CC: 0.0014, degrees of freedom: 4."


def test_choices_are_judged_by_withheld_tilts_and_on_simulated_specimens_by_the_truth() -> None:
    def chosen(specimen: str, change: str, *all_values: dict[str, Any]) -> list[dict[str, Any]]:
        sizes = {"size": "real" if specimen in REAL else "realistic", "split": "tilts"}
        jobs = tables.alike(TABLES["chosen"]("small"), specimen=specimen, change=change, **sizes)
        return [row(one, 0.5, z_to_x=1.1) | values for one, values in zip(jobs, all_values, strict=False)]

    def explained(*shells: float | None) -> dict[str, Any]:
        return {"explained": list(shells), "cc": None}

    rows = made_up(
        *chosen("10499 outer", "", explained(None, 0.2, 0.1, 0.0), explained(None, 0.2, 0.2, 0.2)),
        *chosen("10499 outer", "residual", explained(None, 0.4, 0.3, 0.2), explained(None, 0.5, 0.4, 0.3)),
        *chosen("10499 outer", "Adam", explained(None, 0.0, 0.0, 0.0)),
        *chosen("cell, axis refined", "", {"cc": 0.6}, {"cc": 0.7}),
        *chosen("cell, axis refined", "three levels", {"cc": 0.5}),
    )
    text = verdicts.chosen("small", rows)
    lines = text.splitlines()
    assert [line for line in lines if line.endswith(":")] == ["10499 outer:", "cell, axis refined:"]
    assert lines[2].startswith("| change | mean explained | seeds | difference | explained 0.02-0.04 |")
    cut = [[line.split(" | ")[i] for i in (0, 2, 3, 4, 5)] for line in lines[4:7]]
    assert cut == [
        ["| residual", "0.300, 0.400", "+0.200", "", "0.45 ± 0.07 (2 seeds)"],
        ["| **dewedge** (reference)", "0.100, 0.200", "", "", "0.20 ± 0.00 (2 seeds)"],
        ["| Adam", "0.000", "-0.100", "", "0.00 (1 seed)"],
    ]
    assert "differences in mean explained: 0.0000, degrees of freedom: 1." in text
    of_cell = text.partition("cell, axis refined:")[2]
    assert "| three levels | 0.500 (1 seed) | 0.500 | -0.100 |" in of_cell and "z : x" in of_cell


def test_only_the_text_between_markers_changes(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "by hand\n<!-- table a -->\nold\n<!-- end -->\nand here\n<!-- table b -->\n<!-- end -->\n"
    )
    once = with_blocks(page, {"a": r"new \1", "b": "more"})
    first, second = "<!-- table a -->\n\nnew \\1\n\n<!-- end -->", "<!-- table b -->\n\nmore\n\n<!-- end -->"
    assert once == f"by hand\n{first}\nand here\n{second}\n"
    page.write_text(once)
    assert with_blocks(page, {"a": r"new \1", "b": "more"}) == once
    with pytest.raises(SystemExit, match="expected markers for a, c; got a, b"):
        with_blocks(page, {"a": "", "c": ""})


def test_volumes_are_kept_for_the_first_seed_of_figure_5_alone() -> None:
    folder = Path("data")
    kept = [one for one in TABLES["figure5"]("small") if volume_file(folder, one, "x") is not None]
    assert {one.seed for one in kept} == {1}
    cells_kept = [one for one in TABLES["realistic"]("small") if volume_file(folder, one, "x") is not None]
    assert {(one.specimen, one.seed) for one in cells_kept} == {("cell, axis refined", 1)}
    assert len(cells_kept) == len(kept) // len(SNRS) - 1  # all but the noise-free FBP
    assert len({volume_file(folder, one, "x") for one in cells_kept}) == len(cells_kept)
    assert (
        len({volume_file(folder, one, machine) for one in kept for machine in ("x, 1", "x, 2")})
        == 2 * len(kept)
        == 2 * len(list(TABLES["figure5"]("small"))) // 3
    )
    for other in ({"seed": 2}, {"snr": 0.3}, {"cube_size": 80}, {"budget_s": 1.0}, {"change": "residual"}):
        assert volume_file(folder, job("small", "dewedge", **other), "x") is None


@pytest.mark.parametrize(
    ("recipe", "change"), [(recipe, change) for recipe, changes in CHANGES.items() for change in changes]
)
def test_every_change_is_one_that_the_code_knows(recipe: str, change: str) -> None:
    for stage in read_recipe(recipe).stages:
        one, other = (configuration(job("small", recipe, change=name), stage, 1.0) for name in (change, ""))
        networks = [replace(config.fit.network(), **settings) for config, settings in (one, other)]
        assert one[0] != other[0] or networks[0] != networks[1]


@pytest.mark.parametrize("recipe", ["cryocare", "isonet", "deepdewedge"])
def test_on_the_network_of_dewedge_network_and_optimiser_are_those_of_dewedge(recipe: str) -> None:
    config, network = configuration(job("small", recipe, change=SAME_NETWORK), recipe, 1.0)
    default = configuration(job("small", "dewedge"), "dewedge", 1.0)[0]
    shared = ("preset", "channels", "optimiser", "learning_rate", "warm_up", "schedule", "gradient_clip")
    assert not network
    assert all(getattr(config.fit, name) == getattr(default.fit, name) for name in (*shared, "cube_size"))
    assert config.refine.average_rotations == default.refine.average_rotations
    assert config.compute == default.compute


def test_what_was_dropped_is_no_longer_in_the_code() -> None:
    fits = [change.settings.get("fit") for changes in DROPPED.values() for change in changes.values()]
    for fit in filter(None, fits):  # other sections are those of former defaults
        with pytest.raises(ValueError, match="validation error"):
            Config.model_validate({"fit": fit})


def test_rows_of_other_code_are_not_compared() -> None:
    jobs = [job("small", "dewedge", seed=seed, change=change) for change in ("Adam", "") for seed in (1, 2)]
    rows = made_up(*(row(one, 0.5 + 0.1 * i) for i, one in enumerate(jobs)))
    assert len(verdicts.paired_differences(jobs[:2], jobs[2:], rows)) == 2
    rows[jobs[3]]["commit"] = "other"
    assert verdicts.paired_differences(jobs[:2], jobs[2:], rows) == pytest.approx([-0.2])


def test_the_seed_of_a_job_is_that_of_the_fit() -> None:
    for recipe in ("cryocare", "isonet", "deepdewedge", "dewedge"):
        assert configuration(job("small", recipe, seed=7), recipe, 1.0)[0].fit.seed == 7


def test_the_budget_of_every_method_is_that_of_the_job() -> None:
    for recipe in ("cryocare", "isonet", "deepdewedge", "dewedge"):
        options = configuration(job("small", recipe), recipe, 300.0)[0].fit.options()
        assert (options.budget_s, options.epochs) == (300.0, None)


def test_the_published_recipe_in_bfloat16_differs_in_nothing_else() -> None:
    published, other = (
        configuration(job("small", name), "deepdewedge", 1.0)[0]
        for name in ("deepdewedge", "deepdewedge bf16")
    )
    assert (published.compute.precision, other.compute.precision) == ("32-true", "bf16-mixed")
    assert published.model_copy(update={"compute": other.compute}) == other


def test_every_table_has_its_place_in_the_pages(tmp_path: Path) -> None:
    """Of no rows, and of rows in every table."""
    for page in PAGES:
        (tmp_path / page).write_text((ROOT / "docs" / "notebook" / page).read_text())
    file = tmp_path / "rows.json"
    write_pages("small", file, tmp_path, tmp_path)
    assert (tmp_path / "comparison.md").read_text().count("No rows yet.") == 16
    every = {one for table in JOBS.values() for one in table("small")}
    assert {one.snr for one in every if not is_realistic(one.specimen) and one.specimen not in REAL} == set(
        SNRS
    )
    shells = {"z_to_x": 1.1, "shells_outside": [0.9] * 4, "shells_inside": [None] * 4}
    shells |= {"explained": [None, 0.2, 0.1, -0.1], "correlation": [None, 0.4, 0.2, 0.1]}
    for name in ("rows.json", "rows_dropped.json", "comparison_realistic.json"):
        (tmp_path / name).write_text(json.dumps({"rows": [row(one, 0.5, **shells) for one in every]}))
    write_pages("small", file, tmp_path, tmp_path)
    text = "".join((tmp_path / page).read_text() for page in PAGES)
    assert text.count("No rows yet.") == 2  # no volumes
    assert text.count("Commits: abc1234.") == len(JOBS)
    for figure in ("comparison_snr", "comparison_methods"):
        assert (tmp_path / "images" / f"{figure}.png").stat().st_size > 10_000


def test_rows_of_two_machines_make_two_tables(tmp_path: Path) -> None:
    for page in PAGES:
        (tmp_path / page).write_text((ROOT / "docs" / "notebook" / page).read_text())
    jobs = [one for one in TABLES["hour"]("small") if one.method == "dewedge" and not one.change]
    rows = [row(one, 0.5) for one in jobs] + [row(one, 0.7, machine="y") for one in jobs[:2]]
    (tmp_path / "rows.json").write_text(json.dumps({"rows": rows}))
    write_pages("small", tmp_path / "rows.json", tmp_path, tmp_path)
    text = (tmp_path / "comparison.md").read_text().partition("<!-- table hour -->")[2]
    assert text.index("0.500") < text.index("Machine: x. Rows: 6.") < text.index("0.700")
    assert text.index("0.700") < text.index("Machine: y. Rows: 2.")
