"""``python -m scalinglaws COMMAND …`` is the command line ``scalinglaws COMMAND …``; the rules of the workflow call it so."""

from __future__ import annotations

import sys


def main() -> int:
    """Run a command of ``cli/app.py`` and return its exit status, also where its libraries are missing or Ctrl-C comes early."""
    try:
        from scalinglaws.cli.app import main as run
    except KeyboardInterrupt:
        return 130
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("scalinglaws"):
            raise
        print(
            f"scalinglaws: {sys.executable} has no library {error.name}: run `make install`, then use .venv/bin/python",
            file=sys.stderr,
        )
        return 1
    return run()


if __name__ == "__main__":
    sys.exit(main())
