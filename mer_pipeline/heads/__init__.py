"""Fusion heads: one module each, named in the table HEADS of components.py; and what they share."""
