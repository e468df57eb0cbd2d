"""Other programs' files of one tilt series, written by each program's own equations.

Every writer makes raw images of the same specimen, as small Gaussian blobs at the places where the program's
documented model projects them, and the files that describe them. Nothing here uses the readers' conversions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import mrcfile
import numpy as np
from numpy.typing import NDArray

from dewedge.io.mrc import write_mrc

Floats = NDArray[np.float64]

PIXEL_A = 5.0
# Blobs at (z, y, x) voxels from the centre, and how bright they are: no symmetry maps them onto themselves.
PLACES = np.array([(9.0, 4.0, 13.0), (-6.0, -12.0, 5.0), (4.0, 10.0, -9.0)])
BRIGHTNESS = np.array([1.0, 2.0, 3.0])


@dataclass
class Series:
    """Tilts, tilt axes and shifts (x, y) in pixels of a program, in that program's own sense."""

    shape_yx: tuple[int, int] = (50, 54)
    tilts: Floats = field(default_factory=lambda: np.arange(-60.0, 61, 6))
    seed: int = 1
    axis: float = 7.0

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        n = len(self.tilts)
        self.axes = self.axis + rng.uniform(-1, 1, n)
        self.shifts = rng.uniform(-3, 3, (n, 2))

    @property
    def centre(self) -> Floats:
        """N / 2 of x and y."""
        return np.array(self.shape_yx[::-1]) / 2


def turn(angle_deg: float) -> Floats:
    """Counter-clockwise turn of (x, y)."""
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return np.array([[c, -s], [s, c]])


def imod_xy(series: Series, i: int, places: Floats) -> Floats:
    """IMOD: X' = A (X - c) + d + c with c = (N - 1) / 2, and x' = x cos + z sin from c."""
    z, y, x = places.T
    a = np.radians(series.tilts[i])
    aligned = np.stack([x * np.cos(a) + z * np.sin(a), y], axis=1)
    matrix = turn(-series.axes[i])
    c = (np.array(series.shape_yx[::-1]) - 1) / 2
    return np.linalg.solve(matrix, (aligned - series.shifts[i]).T).T + c


def aretomo_xy(series: Series, i: int, places: Floats) -> Floats:
    """AreTomo's resampling: the raw coordinate of an aligned one is R(ROT) p + T; pixel 0 lies at 0.5."""
    z, y, x = places.T
    a = np.radians(series.tilts[i])
    aligned = np.stack([x * np.cos(a) + z * np.sin(a), y], axis=1)
    return aligned @ turn(series.axes[i]).T + series.shifts[i] + series.centre - 0.5


def relion_xy(series: Series, i: int, places: Floats) -> Floats:
    """RELION 5: a product of 4 x 4 matrices, T(shift + N / 2) Rz(ZRot) Ry(YTilt)."""
    a, r = np.radians(series.tilts[i]), np.radians(series.axes[i])
    ry = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    rz = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return (places[:, ::-1] @ (rz @ ry).T)[:, :2] + series.shifts[i] + series.centre


def warp_xy(series: Series, i: int, places: Floats) -> Floats:
    """Warp: Matrix3.Euler(0, Angles, -AxisAngle) of the place, plus the axis offset and half the image."""
    b, g = np.radians(series.tilts[i]), np.radians(-series.axes[i])
    cb, sb, cg, sg = np.cos(b), np.sin(b), np.cos(g), np.sin(g)
    euler = np.array([[cg * cb, sg, -cg * sb], [-sg * cb, cg, sg * sb], [sb, 0, cb]])
    return (places[:, ::-1] @ euler.T)[:, :2] + series.shifts[i] + series.centre


Model = Callable[[Series, int, Floats], Floats]


def images(series: Series, model: Model, brightness: Floats = BRIGHTNESS) -> NDArray[np.float32]:
    """Raw images ``(n, y, x)`` of the blobs."""
    height, width = series.shape_yx
    yy, xx = np.mgrid[:height, :width]
    stack = np.zeros((len(series.tilts), height, width), dtype=np.float32)
    for i in range(len(stack)):
        for (x, y), b in zip(model(series, i, PLACES), brightness, strict=True):
            stack[i] += b * np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * 1.5**2))
    return stack


def write_imod(folder: Path, name: str = "TS_1") -> Path:
    series = Series()
    stack = folder / f"{name}.st"
    write_mrc(stack, images(series, imod_xy), PIXEL_A, stack=True)
    lines = [np.concatenate([turn(-a).ravel(), d]) for a, d in zip(series.axes, series.shifts, strict=True)]
    np.savetxt(folder / f"{name}.xf", lines, fmt="%12.7f")
    np.savetxt(folder / f"{name}.tlt", series.tilts, fmt="%.2f")
    return stack


def write_aretomo(
    folder: Path,
    name: str = "TS_1",
    *,
    base: int = 1,
    dark: tuple[int, ...] = (0, 12),
    halves: bool = False,
    shuffled: bool = False,
    axis: float = -12.0,
    patches: int = 0,
    series: Series | None = None,
) -> Path:
    """A stack, its angles and an .aln with dark images (black in the stack) that it leaves out."""
    series = series or Series(axis=axis)
    stack = images(series, aretomo_xy)
    n = len(stack)
    stack[list(dark)] = 0
    order = np.random.default_rng(3).permutation(n) if shuffled else np.arange(n)
    section = np.argsort(order)
    write_mrc(folder / f"{name}.mrc", stack[order], PIXEL_A, stack=True)
    if halves:
        for half in ("EVN", "ODD"):
            write_mrc(folder / f"{name}_{half}.mrc", stack[order], PIXEL_A, stack=True)
    np.savetxt(folder / f"{name}.rawtlt", series.tilts[order] - 2.5, fmt="%.2f")
    height, width = series.shape_yx
    lines = [
        "# AreTomo Alignment / Priims bprmMn",
        f"# RawSize = {width} {height} {n}",
        f"# NumPatches = {patches}",
        *[f"# DarkFrame =  {i:4d} {section[i] + base:4d} {series.tilts[i] - 2.5:8.2f}" for i in dark],
        "# AlphaOffset =     2.50",
        "# BetaOffset =     0.00",
        "# SEC     ROT         GMAG       TX          TY      SMEAN     SFIT    SCALE     BASE     TILT",
    ]
    for i in range(n):
        if i not in dark:
            tx, ty = series.shifts[i]
            lines.append(
                f"{section[i] + base:5d}  {series.axes[i]:9.4f}  {1:9.5f}  {tx:9.3f}  {ty:9.3f}  "
                f"{1:7.2f}  {1:7.2f}  {1:7.2f}  {0:7.2f}  {series.tilts[i]:8.2f}"
            )
    if patches:
        lines += ["# Local Alignment", "   0   0  -558.42   -802.00   -100.07     24.43   1.0"]
    path = folder / f"{name}.aln"
    path.write_text("\n".join(lines) + "\n")
    return path


def write_metrics(folder: Path, names: tuple[str, ...] = ("TS_1", "TS_2")) -> Path:
    """AreTomo3's table of series, each with a worse CTF than the one before."""
    path = folder / "TiltSeries_Metrics.csv"
    lines = [
        "Tilt_Series,Thickness(Pix),Tilt_Axis,Global_Shift(Pix),Bad_Patch_Low,Bad_Patch_All,Defocus(A),"
        "ExtPhase(Deg),CTF_Res(A),CTF_Score,DF_Hand,Pix_Size(A),Cs(nm),Kv,Alpha0,Beta0"
    ]
    for i, name in enumerate(names, 1):
        ctf = f"35012.4,   0.0, {8.0 * i:5.2f},  {0.3 / i:6.4f},-1"
        lines.append(f"{name}.mrc,   1200,  -5.12,   102.50,  0.00, 0.12,  {ctf},  1.54, 2.7, 300, 1.5, 0.0")
    path.write_text("\n".join(lines) + "\n")
    return path


def write_relion(
    folder: Path, name: str = "TS_1", *, per_tilt_files: bool = True, halves: bool = True
) -> Path:
    """The STAR file of a set, that of its tilt series, and an image file for each tilt (or a stack)."""
    series = Series()
    stack = images(series, relion_xy)
    frames = folder / "MotionCorr" / "job002"
    frames.mkdir(parents=True, exist_ok=True)
    kinds = ("", "_EVN", "_ODD") if halves else ("",)
    rows = []
    for i, image in enumerate(stack):
        names = []
        for kind in kinds:
            path = frames / f"{name}_{i:03d}{kind}.mrc"
            if per_tilt_files:
                write_mrc(path, image[None], PIXEL_A, stack=True)
            names.append(
                str(path.relative_to(folder))
                if per_tilt_files
                else f"{i + 1:06d}@MotionCorr/job002/{name}{kind}.mrc"
            )
        sx, sy = series.shifts[i] * PIXEL_A
        rows.append(
            f"{' '.join(names)} {series.tilts[i]:.3f} {series.axis:.1f} {3.0 * abs(i - 10):.2f} "
            f"{20000 + i:.2f} {19000 + i:.2f} {10 + i:.2f} 0.0 {series.tilts[i]:.6f} {series.axes[i]:.6f} "
            f"{sx:.6f} {sy:.6f}"
        )
    if not per_tilt_files:
        for kind in kinds:
            write_mrc(frames / f"{name}{kind}.mrc", stack, PIXEL_A, stack=True)
    columns = ["MicrographName", *(["MicrographNameEven", "MicrographNameOdd"] if halves else [])]
    columns += ["TomoNominalStageTiltAngle", "TomoNominalTiltAxisAngle", "MicrographPreExposure", "DefocusU"]
    columns += [
        "DefocusV",
        "DefocusAngle",
        "TomoXTilt",
        "TomoYTilt",
        "TomoZRot",
        "TomoXShiftAngst",
        "TomoYShiftAngst",
    ]
    head = "\n".join(f"_rln{column} #{i}" for i, column in enumerate(columns, 1))
    tilt_star = folder / "tilt_series" / f"{name}.star"
    tilt_star.parent.mkdir(exist_ok=True)
    tilt_star.write_text(f"\n# version 50001\n\ndata_{name}\n\nloop_ \n{head}\n" + "\n".join(rows) + "\n")
    star = folder / "tomograms.star"
    columns = ["TomoName", "Voltage", "SphericalAberration", "AmplitudeContrast", "TomoHand"]
    columns += ["TomoTiltSeriesPixelSize", "TomoTiltSeriesStarFile", "TomoSizeZ"]
    head = "\n".join(f"_rln{column} #{i} " for i, column in enumerate(columns, 1))
    row = f"{name} 300.000000 2.700000 0.100000 -1.00000 {PIXEL_A:.6f} tilt_series/{name}.star 2000"
    star.write_text(f"\n# version 50001\n\ndata_global\n\nloop_ \n{head}\n {row} \n")
    return star


def write_warp(folder: Path, name: str = "TS_1", *, averages: bool = False, movement_A: float = 0.0) -> Path:
    """An .xml, and a stack in tiltstack/NAME or averages of the movies, whole, even and odd."""
    series = Series()
    stack = images(series, warp_xy)
    n = len(stack)
    movies = [f"../frames/{name}_{i:03d}_{-a:.1f}.tif" for i, a in enumerate(series.tilts)]
    if averages:
        for half in ("", "even", "odd"):
            for movie, image in zip(movies, stack, strict=True):
                target = folder.parent / "frames" / "average" / half / f"{Path(movie).stem}.mrc"
                write_mrc(target, image[None], PIXEL_A, stack=True)
    else:
        write_mrc(folder / "tiltstack" / name / f"{name}.st", stack, PIXEL_A, stack=True)
    offsets = (series.shifts + movement_A / PIXEL_A) * PIXEL_A

    def grid(tag: str, value: float) -> str:
        nodes = "".join(f'<Node X="0" Y="0" Z="{i}" Value="{value}" />' for i in range(n))
        return f'<{tag} Width="1" Height="1" Depth="{n}">{nodes}</{tag}>'

    def column(tag: str, values: object) -> str:
        return f"<{tag}>" + "\n".join(str(value) for value in values) + f"</{tag}>"  # type: ignore[attr-defined]

    path = folder / f"{name}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n<TiltSeries DataDirectory="" AreAnglesInverted="False">'
        + column("Angles", series.tilts)
        + column("Dose", 3.0 * np.argsort(np.argsort(np.abs(series.tilts + 0.1))))
        + column("UseTilt", [i != 4 for i in range(n)])
        + column("AxisAngle", series.axes)
        + column("AxisOffsetX", offsets[:, 0])
        + column("AxisOffsetY", offsets[:, 1])
        + column("MoviePath", movies)
        + '<CTF><Param Name="Voltage" Value="300.0" /><Param Name="Cs" Value="2.7" />'
        '<Param Name="Amplitude" Value="0.07" /></CTF>'
        + grid("GridCTF", 2.5)
        + grid("GridCTFDefocusDelta", 0.2)
        + grid("GridCTFDefocusAngle", 24)
        + grid("GridCTFPhase", 0.5)
        + grid("GridMovementX", movement_A)
        + grid("GridMovementY", movement_A)
        + "</TiltSeries>",
        encoding="utf-8-sig",
    )
    return path


def write_warp_project(folder: Path, name: str = "TS_1", *, voxel_A: float = 10.0) -> Path:
    """A project of WarpTools: settings, .tomostar, .xml, stack, and half tomograms in half precision."""
    xml = write_warp(folder / "warp_tiltseries", name)
    series = Series()
    (folder / "tomostar").mkdir(exist_ok=True)
    names = ("MovieName", "AngleTilt", "AxisAngle", "Dose")
    columns = "".join(f"_wrp{column} #{i}\n" for i, column in enumerate(names, 1))
    rows = "".join(f"  ../frames/{name}_{i:03d}.tif  {a}  7.0  3.0\n" for i, a in enumerate(series.tilts))
    (folder / "tomostar" / f"{name}.tomostar").write_text(f"\ndata_\n\nloop_\n{columns}{rows}\n")
    rng = np.random.default_rng(series.seed)
    common = rng.normal(size=(32, 48, 48))
    for half in ("", "even", "odd"):
        path = xml.parent / "reconstruction" / half / f"{name}_{voxel_A:.2f}Apx.mrc"
        path.parent.mkdir(parents=True, exist_ok=True)
        with mrcfile.new(path) as mrc:
            mrc.set_data((common + rng.normal(size=common.shape)).astype(np.float16))
            mrc.voxel_size = voxel_A
    settings = folder / "warp_tiltseries.settings"
    settings.write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n<Settings>\n\t<Import>\n'
        '\t\t<Param Name="DataFolder" Value="tomostar" />\n'
        '\t\t<Param Name="ProcessingFolder" Value="warp_tiltseries" />\n'
        '\t\t<Param Name="Extension" Value="*.tomostar" />\n'
        '\t\t<Param Name="PixelSize" Value="2.5" />\n\t</Import>\n'
        '\t<Tomo>\n\t\t<Param Name="DimensionsZ" Value="1000" />\n\t</Tomo>\n</Settings>\n'
    )
    return settings
