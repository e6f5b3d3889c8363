"""Experiments that measure fillings."""
