"""Checks of data before anything is computed: pure functions on arrays and geometry that give findings."""
