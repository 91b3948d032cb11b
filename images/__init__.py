"""How the images are built: ``python3 -m images.build``."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit("Python 3.11 or newer is needed to build the images.")
