"""`python -m repaint` is the command `repaint`."""

from repaint.cli import main

main()
