"""Fourier transforms, wedge masks, rotations, projection and reconstruction, in torch."""
