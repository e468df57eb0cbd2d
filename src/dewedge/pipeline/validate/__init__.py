"""Fits on part of the tilts, held against those kept back."""
