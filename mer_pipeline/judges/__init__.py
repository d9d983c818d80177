"""Judges: sources that say how much each class fits a clip, or abstain."""
