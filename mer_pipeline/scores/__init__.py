"""Scores of predictions, their intervals and their calibration; nothing here needs torch."""
