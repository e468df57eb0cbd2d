"""One way of asking how far the filled wedge is to be believed, and how its answer is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Ways of asking, beside the wedges cut elsewhere, as they follow each other.
PartName = Literal["consistency", "withheld", "fits", "uncertainty", "controls", "inner"]


@dataclass(frozen=True)
class Lengths:
    """Resolutions of frequencies, in Angstrom, or in voxels where the voxel size is not known.

    Examples
    --------
    >>> lengths = Lengths(voxel_size_A=10.0)
    >>> lengths.of(0.25), lengths.span(0.04, 0.25)
    (40.0, '250 to 40 Å')
    """

    voxel_size_A: float | None

    @property
    def unit(self) -> str:
        """Unit of the resolutions."""
        return "voxels" if self.voxel_size_A is None else "Å"

    def of(self, per_voxel: float) -> float:
        """Resolution of a frequency in cycles per voxel."""
        return (self.voxel_size_A or 1.0) / per_voxel

    def text(self, per_voxel: float) -> str:
        """Resolution of a frequency in cycles per voxel, with its unit."""
        return f"{self.of(per_voxel):.0f} {self.unit}"

    def span(self, low: float, high: float) -> str:
        """Resolutions of two frequencies in cycles per voxel, from coarse to fine, with their unit."""
        return f"{self.of(low):.0f} to {self.text(high)}"


class Picture(NamedTuple):
    """A figure of the page, drawn when it is needed, and what it shows in words."""

    draw: Callable[[], Figure]
    shows: str


class Part(Protocol):
    """Answer to one way of asking: its section of the page and its key of trust.json.

    Attributes
    ----------
    heading
        Of the section.
    meaning
        What the figures mean, in HTML, the same for all tomograms.
    """

    heading: ClassVar[str]
    meaning: ClassVar[str]

    def sentences(self, lengths: Lengths) -> Sequence[str]:
        """The figures in words, most important first."""
        ...

    def pictures(self, lengths: Lengths) -> Sequence[Picture]:
        """Figures, if there are any."""
        ...

    def as_dict(self) -> Mapping[str, Any]:
        """All figures, fit for JSON."""
        ...
