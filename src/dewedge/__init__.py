"""DeepDeWedge for cryo-electron tomography: from raw tilt series to refined tomogram."""

__version__ = "0.1.0"
