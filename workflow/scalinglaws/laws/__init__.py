"""Scaling laws: equations, which losses enter them, fits, intervals. Imports nothing: naming laws needs no scipy."""
