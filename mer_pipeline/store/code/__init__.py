"""The code part of a transform's fingerprint, by definition and not by file.

A digest of the AST (no comments, docstrings, positions) of every definition in the project that some root objects
reach: a class, its bases, the functions and constants that they name, across modules. So a reformat or a new class
beside the old ones changes nothing, and a formula, constant, default or decorator three calls away changes it.
The text comes from the source file (`scopes.py`, `source.py`); *what a name stands for* comes from the running program
(`values.py`: modules' `__dict__`, closures, held objects), so a rebound name is seen, and swapped aliases are too.
In doubt more counts, at most the whole module: to recompute is cheap, a stale row is not. Only the project's code is
looked into (`origins.py`); `walk.py` goes from the roots to all that they reach.

Module-level statements that do more than bind names (`TABLE["x"] = 1`) count for every module that a reached one
imports.

Not seen: what is found by a computed name (`import_module(f"plug_{x}")`, `getattr(thing, name)` on what nothing here
names), plain data put into a module's mutable objects by code that nothing reached imports or by the right side of an
assignment, docstrings that another module reads, the state of third-party objects, monkeypatched third-party code, and
a file that was edited after the program loaded it.
"""

from mer_pipeline.store.code.walk import Code, code_of

__all__ = ["Code", "code_of"]
