"""Experiments: what a filling is worth, measured."""
