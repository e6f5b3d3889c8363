"""Numbers and plots from pictures."""
