"""`python -m litegpt` is `litegpt`."""

import sys

from litegpt.cli import main

sys.exit(main())
