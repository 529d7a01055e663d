"""`python -m thrombojax` is `thrombojax`."""

import sys

from thrombojax.cli import main

if __name__ == "__main__":
    sys.exit(main())
