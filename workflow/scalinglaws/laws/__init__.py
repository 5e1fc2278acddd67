"""Scaling laws: equations, which losses enter them, fits, intervals. It imports nothing: naming laws needs no scipy."""
