"""``python -m scalinglaws COMMAND …`` is the command line ``scalinglaws COMMAND …``; the rules of the workflow call it so."""

from __future__ import annotations

import sys

from scalinglaws.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
