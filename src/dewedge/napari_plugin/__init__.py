"""A plugin of napari: a reader of runs and their volumes, and a widget (docs/guide/napari.md)."""
