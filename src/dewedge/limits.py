"""What is believed of a file: the one table of how large, long and deep anything may be that was read.

Each is far beyond use. What exceeds it is refused in one line before memory is taken for it, so that a
damaged or hostile file costs neither memory nor time.
"""

from __future__ import annotations

# Text.
TEXT_BYTES = 1 << 24
LINES = 200_000
WORDS = 1_000_000
NUMBER_CHARACTERS = 64  # of one number, as it is written
NESTED_BYTES = 1 << 19  # of YAML and TOML, whose parsers are slow
NESTED_LINE = 1024  # characters, of TOML: what a key costs grows with the square of its parts
NESTING = 32  # of brackets, in YAML, TOML and JSON
JSON_CHARACTERS = 1 << 24
COLUMNS = 200  # of a table
NODES = 40_000  # of a grid of Warp

# Values in a message.
SHOWN = 80
MESSAGE = 4000  # of all of it

# Numbers.
NUMBER = 1e12  # largest size of a number in a text file
PIXEL = 1e15  # largest size of a pixel: float32 holds the sum of the squares of an image of them
WEIGHT = 1e6  # largest size of a network's weight
GAIN = 1e6  # largest factor of a gain reference
LENGTH_A = (1e-2, 1e4)  # of a pixel or voxel

# Images and volumes.
TILTS = 10_000
AXIS = 1 << 16  # voxels along an axis, frames of a movie, images of a stack
EXTENDED_HEADER = 1 << 26  # bytes, of an MRC file
FRAME_PIXELS = 1 << 28  # of a compressed frame: more than any detector has
CHUNK_BYTES = 1 << 29  # of a chunk of a Zarr array, as it is read and decoded
SHARD_CHUNKS = 1 << 20  # of a file that holds several

# Networks: channels, levels and the like.
CHANNELS = 1024
FOLD = 4
LEVELS = 8
CONVOLUTIONS = 16
CUBE = 1024
TENSORS = 10_000
STEPS = 10**15  # of a fit, and sub-tomograms

# Settings.
BATCH = 1 << 16
COUNT = 10**9
SEED = 2**63 - 1
PROCESSES = 1 << 16
