"""Inpainting many images into a folder of results: batched, shared between processes, and resumable.

The folder holds `repaint.json`, the settings of all results in it; other settings are rejected. Each result is written
atomically, and a later call reads it to check that it is complete. After an interruption, repeat the same command.
"""
