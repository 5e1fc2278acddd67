"""Scaling-law studies of language models: corpus, tokens, training, tables, laws, figures."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036
    raise ImportError("scalinglaws needs Python 3.11 or newer, and " + sys.executable + " is older: run `make install`")

__version__ = "0.2.0"
