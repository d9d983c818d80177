"""Scores of predictions, their intervals and their calibration; no module here imports torch."""
