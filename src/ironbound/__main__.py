"""`python -m ironbound`."""

from ironbound.cli import main

main()
