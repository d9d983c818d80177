"""Judges: components that give every clip a distribution over the classes, or abstain."""
