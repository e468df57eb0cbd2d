"""Devices and processes, folders, logs and progress, on which every verb runs."""
