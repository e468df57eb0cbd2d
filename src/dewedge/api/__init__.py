"""The interface for Python: a tilt series, its tomograms, and a model, as values with methods."""
