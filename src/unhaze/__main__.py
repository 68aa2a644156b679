"""`python -m unhaze` is the command `unhaze`."""

import sys

from unhaze.cli import main

if __name__ == "__main__":
    sys.exit(main())
