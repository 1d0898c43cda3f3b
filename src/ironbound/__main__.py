"""`python -m ironbound`."""

import os
import sys

if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()]:
    del sys.path[0]  # as for `ironbound`: the working directory may be a run folder, of which nothing is imported

from ironbound.cli import main

main()
