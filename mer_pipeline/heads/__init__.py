"""Fusion heads: one module for each kind, named in the table HEADS of components.py, and their common parts."""
