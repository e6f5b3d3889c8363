"""Fillings against held-out pictures."""
