"""Denoise a tomogram with another program, for its row in the comparison.

    python benchmarks/comparison/peers.py run PEER INPUT.mrc OUTPUT.mrc --python PEER_ENVIRONMENT/bin/python

The peer lives in an environment of its own, whose interpreter is named; docs/notebook/peers.md says how to
make it, and which programs were tried. Nothing of a peer is imported here.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

TOPAZ_MODELS = {"topaz-10a": "unet-3d-10a", "topaz-20a": "unet-3d-20a"}
PEERS = tuple(TOPAZ_MODELS)


def denoise(peer: str, source: Path, output: Path, python: Path) -> None:
    """Denoise an MRC volume with a peer's pretrained network and its documented settings.

    The 3D models of Topaz-Denoise take one full tomogram (no halves) at about the model's voxel size; the
    volume is standardised by its own mean and deviation, denoised in patches of 96 with 48 voxels of context
    on each side, and scaled back.

    Parameters
    ----------
    peer : str
        One of `PEERS`.
    source, output : Path
        MRC volumes `(z, y, x)`; the output has the header of the source, thus its voxel size.
    python : Path
        Interpreter of the environment in which the peer is installed.

    Raises
    ------
    subprocess.CalledProcessError
        If the peer fails; what it wrote is on the terminal.
    """
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        subprocess.run(
            [python, "-m", "topaz.commands.denoise3d", source.resolve(), "--output", folder,
             "--model", TOPAZ_MODELS[peer], "--patch-size", "96", "--patch-padding", "48"],
            check=True,
        )  # fmt: skip
        shutil.move(Path(folder) / source.name, output)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    verb = parser.add_subparsers(required=True).add_parser("run", help="denoise one volume")
    verb.add_argument("peer", choices=PEERS)
    verb.add_argument("source", type=Path, metavar="INPUT.mrc")
    verb.add_argument("output", type=Path, metavar="OUTPUT.mrc")
    verb.add_argument("--python", type=Path, required=True, help="interpreter of the peer's environment")
    arguments = parser.parse_args()
    denoise(arguments.peer, arguments.source, arguments.output, arguments.python)


if __name__ == "__main__":
    main()
