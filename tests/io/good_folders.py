"""Small folders of good input, one for each program, for tests that damage them."""

from __future__ import annotations

from pathlib import Path

import foreign
import numpy as np

from dewedge.geometry import TiltRange
from dewedge.io.mrc import read_mrc, write_mrc
from dewedge.learn.checkpoint import MODEL_KIND, Model, save_model, save_tensors
from dewedge.learn.network import PRESETS, UNet

PAGE = "<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head>\n<body>Sorry</body></html>\n"


def write_imod(folder: Path) -> None:
    """Whole numbers from 0 to 120, which every mode of MRC holds."""
    stack = foreign.write_imod(folder)
    images = np.array(read_mrc(stack, stack=True).data)
    noise = np.random.default_rng(0).integers(0, 20, images.shape)
    whole = np.clip(np.round(30 * images) + noise, 0, 120).astype(np.float32)
    write_mrc(stack, whole, foreign.PIXEL_A, stack=True)


def write_serialem(folder: Path) -> None:
    """The same without .tlt and .xf, with an mdoc."""
    write_imod(folder)
    (folder / "TS_1.xf").unlink()
    head = "PixelSpacing = 5.0\nImageFile = TS_1.st\nImageSize = 54 50\nDataMode = 1\n\n"
    head += "[T =     Tilt axis angle = 7.0, binning = 1  spot = 8  camera = 0]\n\n"
    angles = (folder / "TS_1.tlt").read_text().split()
    sections = [
        f"[ZValue = {i}]\nTiltAngle = {angle}\nPixelSpacing = 5.0\nDateTime = 01-Jan-24  10:{i:02d}:00\n"
        for i, angle in enumerate(angles)
    ]
    (folder / "TS_1.tlt").unlink()
    (folder / "TS_1.st.mdoc").write_text(head + "\n".join(sections))


def write_halves(folder: Path) -> None:
    """Half tomograms, a particle list, configurations of DeepDeWedge and IsoNet2, and of this program."""
    rng = np.random.default_rng(0)
    common = rng.normal(size=(16, 32, 32))
    for name in ("TS_1_even", "TS_1_odd", "TS_1"):
        write_mrc(folder / f"{name}.mrc", (common + rng.normal(size=common.shape)).astype(np.float32), 10.0)
    (folder / "ddw.yaml").write_text(
        "shared:\n  tomo0_files: [TS_1_even.mrc]\n  tomo1_files: [TS_1_odd.mrc]\n  mw_angle: 60\n"
    )
    columns = ("TomoReconstructedTomogramHalf1", "TomoReconstructedTomogramHalf2", "TiltMin", "TiltMax")
    head = "".join(f"_rln{column} #{i}\n" for i, column in enumerate(("TomoName", *columns), 1))
    (folder / "isonet.star").write_text(f"data_\n\nloop_\n{head}TS_1.mrc TS_1_even.mrc TS_1_odd.mrc -60 60\n")
    head = "".join(f"_rlnCoordinate{axis} #{i}\n" for i, axis in enumerate("XYZ", 1))
    (folder / "particles.star").write_text(f"data_particles\n\nloop_\n{head}16 16 8\n")
    (folder / "my.toml").write_text("[fit]\ncube_size = 16\n\n[reconstruct]\nthickness = 16\n")


def write_model(folder: Path) -> None:
    """A model that was not fitted, the tensors of something else, and a tomogram."""
    write_halves(folder)
    network = PRESETS["default"]
    weights = UNet(network).state_dict()
    save_model(
        folder / "model.safetensors", Model(weights, network, 16, 0.7, None, None, TiltRange(-60, 60), {})
    )
    save_tensors(folder / "other.safetensors", "something else 1", weights, {})
    save_tensors(folder / "bare.safetensors", MODEL_KIND, weights, {"cube_size": 16})


GOOD = {
    "imod": write_imod,
    "serialem": write_serialem,
    "aretomo": foreign.write_aretomo,
    "relion": lambda folder: foreign.write_relion(folder, per_tilt_files=False, halves=False),
    "warp": foreign.write_warp,
    "halves": write_halves,
    "model": write_model,
}
