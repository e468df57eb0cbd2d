"""What every verb runs on: devices and processes, folders, logs, progress."""
