"""Numbers and units that several rooms use."""

from __future__ import annotations

PF_DAY = 8.64e19  # FLOP in one petaflop/s-day
