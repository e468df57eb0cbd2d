"""Completion of verbs, flags, choices and files by the shell, from a script that starts no Python."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from dewedge.cli.output import Folder
from dewedge.errors import InputError
from dewedge.io.files import unwritable, write_text_atomic

Shell = Literal["bash", "zsh", "fish"]


def install_completion(*, shell: Shell | None = None, output: Folder | None = None) -> None:
    """Let the shell complete verbs, flags, choices and files.

    Parameters
    ----------
    shell
        The shell; that which started this if not given.
    output
        File to write the script to, and nothing else. If not given, it is written to where the shell looks
        for it, and ~/.bashrc or ~/.zshrc gets a line that reads it.
    """
    from cyclopts.completion.install import add_to_rc_file, get_default_completion_path

    from dewedge.cli.app import build_app

    shell = _running_shell() if shell is None else shell
    script = build_app().generate_completion(shell=shell)
    # A folder gets a slash, not a space.
    script = script.replace("complete -F", "complete -o filenames -F")
    path = output
    try:
        path = path or get_default_completion_path(shell, "dewedge")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomic(path, script)
        if output is None and shell != "fish":
            add_to_rc_file(path, "dewedge", shell)
    except OSError as error:
        raise unwritable(path or Path.home(), error) from None
    then = ", which a new shell reads" if output is None else ""
    print(f"completion for {shell}: {path}{then}")


def _running_shell() -> Shell:
    from cyclopts.completion.detect import ShellDetectionError, detect_shell

    try:
        shell = detect_shell()
    except ShellDetectionError:
        shell = None
    if shell is None or shell == "powershell":
        raise InputError("no shell to complete for was found: expected --shell bash, zsh or fish")
    return shell
