"""Manners of the command line: names of results, help, wrong flags, completion, dry runs, the last lines."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from dewedge.cli import Terminated, guarded, main
from dewedge.cli.app import EXAMPLES, VERBS
from dewedge.errors import InputError
from dewedge.io.mrc import read_mrc

# What bash would offer for the words given, of which the last one is not complete.
COMPLETED = """
. "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
_dewedge
printf "%s\\n" "${COMPREPLY[@]}"
complete -p dewedge
"""

RANGE = ["--thickness", "32", "--device", "cpu"]


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What is told of a command line that is refused: one line."""
    capsys.readouterr()
    assert main(list(words)) == 2
    [line] = capsys.readouterr().err.splitlines()
    return line


def help_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main([*words, "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name, written", [("A", "A.mrc"), ("A.map", "A.map"), ("A.MRC", "A.MRC")])
def test_a_tomogram_gets_a_proper_name(
    name: str, written: str, series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["reconstruct", str(series / "TS.mrc"), *RANGE, "-o", str(tmp_path / name)]) == 0
    assert [path.name for path in tmp_path.iterdir()] == [written]
    assert read_mrc(tmp_path / written).data.shape == (32, 64, 64)
    assert (f"{name}: written as {written}" in capsys.readouterr().err) == (name != written)


def test_a_tomogram_is_no_tiff(
    finished: Path, series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    wrong = str(tmp_path / "A.tif")
    for command in (
        ("reconstruct", str(series / "TS.mrc"), *RANGE),
        ("refine", str(finished / "model.safetensors"), str(finished / "full.mrc")),
        ("report", str(finished), str(finished)),
    ):
        assert "A.tif: no such format: expected a name that ends in ." in told(capsys, *command, "-o", wrong)
    assert not list(tmp_path.iterdir())


def test_results_of_one_name_are_told_the_way_out(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    model, full = str(finished / "model.safetensors"), str(finished / "full.mrc")
    line = told(capsys, "refine", model, full, full, "-o", str(tmp_path))
    assert "full_refined.mrc" in line and "one at a time, each with its -o FILE, or give no -o" in line


def test_two_halves_behind_one_flag_are_not_refined_as_full_tomograms(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    model, half0, half1 = (str(finished / name) for name in ("model.safetensors", "half0.mrc", "half1.mrc"))
    words = ("refine", model, "--half0", half0, half1, "--half1", half1, half0, "-o", str(tmp_path))
    line = told(capsys, *words)
    assert f"{half1}: given beside --half0, so taken for a full tomogram" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words, expected",
    [
        (["run", "--quiet"], "Unknown option: '--quiet'. See: dewedge run --help"),
        (["run", "--thicknes=3"], "'--thicknes'. Did you mean --thickness? See: dewedge run --help"),
        (["run", "--binning", "3"], "'--binning'. Did you mean --bin? See: dewedge run --help"),
        (["run", "--out", "A"], "'--out'. Did you mean --output? See: dewedge run --help"),
        (["run", "-x"], "Unknown option: '-x'. See: dewedge run --help"),
        (["trust", "A", "B"], "Expected nothing more, got 'B'. See: dewedge trust --help"),
        (["rum"], 'Unknown command "rum". Did you mean "run"?'),
    ],
)
def test_a_wrong_flag(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]):
    assert expected in told(capsys, *words)


@pytest.mark.parametrize("verb", VERBS)
def test_every_example_is_a_command_line_that_is_understood(verb: str, capsys: pytest.CaptureFixture[str]):
    from dewedge.cli.app import build_app

    shown = help_of(capsys, verb)
    for example in EXAMPLES[verb]:
        program, *words = example.split()
        assert program == "dewedge" and words[0] == verb
        build_app().parse_args(words, exit_on_error=False, print_error=False)
        assert words[-1] in shown.partition("Example")[2]


@pytest.mark.parametrize("verb", VERBS)
def test_usage_names_all_arguments_and_what_is_required(verb: str, capsys: pytest.CaptureFixture[str]):
    from dewedge.cli.app import build_app

    app = build_app()
    given = app[verb].assemble_argument_collection(default_parameter=app.default_parameter)
    expected = []
    for argument in given:
        several = argument.field_info.kind is argument.field_info.VAR_POSITIONAL
        if argument.index is not None and not argument.keys and argument.field_info.is_positional:
            word = argument.name.lstrip("-").upper() + "..." * several
            expected.append(word if argument.required else f"[{word}]")
        elif argument.required:
            expected.append(f"{argument.name} PATH")
    usage = help_of(capsys, verb).splitlines()[0]
    assert usage == " ".join(["Usage: dewedge", verb, *expected, "[OPTIONS]"])


def test_help_tells_the_essential_first_and_the_rest_of_the_fit_last(capsys: pytest.CaptureFixture[str]):
    shown = help_of(capsys, "run")
    places = [shown.index(f" {what} ") for what in ("Essential", "Parameters", "Devices", "Fit, for experts")]
    assert places == sorted(places)
    essential = shown[places[0] : places[1]]
    assert all(flag in essential for flag in ("--output -o", "--thickness", "--bin", "--budget"))
    assert "│ --warm-up" in shown[places[-1] :] and "│ --preset" not in shown[places[-1] :]


def test_paragraphs_of_the_help_fill_its_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "80")
    lines = [line.strip("│ ") for line in help_of(capsys, "run").splitlines()]
    first = next(i for i, line in enumerate(lines) if line.startswith("PATHS"))
    paragraph = lines[first : next(i for i in range(first, len(lines)) if lines[i].startswith("╰"))]
    words = [line.split()[0] for line in paragraph[1:]]
    # Each line but the last is so long that the next word would not have fitted.
    for line, word in zip(paragraph[1:-1], words[1:], strict=True):
        assert len(line) + 1 + len(word) > 80 - 4 - len("PATHS  ")


def test_help_of_a_verb_tells_all_and_that_of_all_a_line(capsys: pytest.CaptureFixture[str]):
    assert "Written into the run's folder: trust.html" in help_of(capsys, "trust")
    assert "Written into" not in help_of(capsys)


def test_exit_status_is_explained(capsys: pytest.CaptureFixture[str]):
    shown = " ".join(help_of(capsys).split())
    assert "Exit status: 0 done" in shown and all(status in shown for status in ("130", "143"))


@pytest.mark.parametrize(
    "error, status",
    [
        (None, 0),
        (InputError("wrong"), 2),
        (OSError(28, "No space left on device"), 2),
        (RuntimeError("a fault"), 1),
        (MemoryError(), 1),
        (KeyboardInterrupt(), 130),
        (Terminated(), 143),
    ],
)
def test_exit_status(error: BaseException | None, status: int, capsys: pytest.CaptureFixture[str]):
    def command() -> None:
        if error is not None:
            raise error

    assert guarded(command) == status
    assert len(capsys.readouterr().err.splitlines()) == (error is not None)


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes_verbs_flags_choices_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["--install-completion", "--shell", "bash"]) == 0
    script = Path((tmp_path / ".bashrc").read_text().split('"')[1])
    (tmp_path / "TS_01.mrc").touch()
    # Nothing that is started when a key is pressed is slow.
    assert "__complete" not in script.read_text()
    for words, expected in {
        ("r",): {"run", "reconstruct", "refine", "report"},
        ("run", "--thi"): {"--thickness"},
        ("run", "--dry"): {"--dry-run"},
        ("run", "--split", ""): {"auto", "tilts", "random", "frames"},
        ("refine", "TS"): {"TS_01.mrc"},
    }.items():
        command = ["bash", "--norc", "-c", COMPLETED, "bash", str(script), "dewedge", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
        *offered, registered = done.stdout.splitlines()
        assert set(offered) == expected
        assert registered.endswith("-F _dewedge dewedge")


def test_a_dry_run_tells_all_and_writes_nothing(
    series: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output = tmp_path / "OUT"
    stack = str(series / "TS.mrc")
    given = [stack, *tiny, "--split", "tilts", "--output-format", "both", "-o", str(output), "--dry-run"]
    assert main(["run", *given]) == 0
    shown = capsys.readouterr().out
    for expected in (
        "TS: tomogram of (32, 64, 64) (z, y, x), voxels of 20 A",
        "split into half-sets of 21 and 20 tilts; reconstruct: FBP (radial); fit a network to it",
        "fit to TS: recipe dewedge, 16 channels, cubes of 16 voxels, for at most 2 epochs",
        "fit.cube_size = 16 (default 48)",
        f"{output}/refined.zarr",
        f"{output}/report.html",
        "forecast: fit ",
    ):
        assert expected in shown
    assert "mask.mrc" not in shown and not any(tmp_path.iterdir())


def test_a_dry_run_of_faulty_input_ends_as_the_run_does(
    series: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "bad.mrc").write_text("no stack")
    given = [str(series / "TS.mrc"), str(tmp_path / "bad.mrc"), *tiny, "--angles", str(series / "TS.tlt")]
    given += ["--angles", str(series / "TS.tlt"), "-o", str(tmp_path / "OUT")]
    assert main(["run", *given, "--dry-run"]) == 2
    shown = capsys.readouterr()
    assert "left out: " in shown.out and "fit to TS:" in shown.out and "OUT/TS/refined.mrc" in shown.out
    assert "1 of 2 inputs could not be used" in shown.err
    assert not (tmp_path / "OUT").exists()


def test_a_dry_run_leaves_an_earlier_run_alone(
    finished: Path, tiny: list[str], series: Path, capsys: pytest.CaptureFixture[str]
):
    def state() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in finished.iterdir()}

    before = state()
    assert main(["run", "--resume", "-o", str(finished), "--dry-run"]) == 0
    assert "would take half-sets and full tomogram that are there" in capsys.readouterr().out
    given = [str(series / "TS.mrc"), *tiny, "-o", str(finished), "--dry-run"]
    assert main(["run", *given]) == 2
    assert main(["run", *given, "--overwrite"]) == 0
    assert "files of an earlier run there would be replaced" in capsys.readouterr().out
    assert state() == before


def test_a_dry_refinement(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    model, full = str(finished / "model.safetensors"), str(finished / "full.mrc")
    output = tmp_path / "A.mrc"
    assert main(["refine", model, full, "-o", str(output), "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert f"(32, 64, 64) (z, y, x): refined as {output}" in shown and "forecast: " in shown
    assert not any(tmp_path.iterdir())


def test_all_that_was_written_is_told_and_warnings_are_told_again(
    series: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    names = [tmp_path / "A.mrc", tmp_path / "B.mrc"]
    for name in names:
        shutil.copy(series / "TS.mrc", name)
        shutil.copy(series / "TS.tlt", name.with_suffix(".tlt"))
    output = tmp_path / "OUT"
    wrong = ["--pixel-size", "1", "--axis-angle", "0", "--gold", "keep"]  # and warned of
    assert main(["run", *map(str, names), *tiny, *wrong, "-o", str(output)]) == 0
    told = [line.partition("  ")[2] for line in capsys.readouterr().err.splitlines()]
    files = {Path(line.split()[0]) for line in told if line.startswith(f"{output}/")}
    there = {path for path in output.rglob("*") if path.is_file()}
    listed = {path for pattern in files for path in output.glob(str(pattern.relative_to(output)))}
    assert listed == there
    first = next(line for line in told if line.startswith(f"{output}/"))
    assert "report.html" in first and "look at this first" in first
    warnings = [line for line in told if line.startswith("warning: ")]
    again = [line.removeprefix("again: ") for line in told if line.startswith("again: ")]
    assert len(warnings) >= 2 and again == warnings
    assert told[-len(again) :] == [f"again: {line}" for line in again]
