"""Scaling-law studies of language models: corpus, tokens, training, tables, laws, figures."""

__version__ = "0.2.0"
