"""Specimens with known truth and their tilt series."""
