"""Files of this and other programs; does not import torch."""
