"""Scaling laws: their equations, which losses enter them, fits, intervals. Imports nothing: the study names laws without scipy."""
