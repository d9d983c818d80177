"""Predictions for files that are no clips of the dataset."""
