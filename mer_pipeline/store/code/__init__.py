"""The code part of a transform's fingerprint, by definition and not by file.

A digest of the AST (no comments, docstrings, positions) of every definition in the project that some root objects
reach: a class, its bases, the functions and constants that they name, across modules. So a reformat or a new class
beside the old ones changes nothing, and a formula, constant, default or decorator three calls away changes it.
The text comes from the source file (`scopes.py`, `source.py`); *what a name stands for* and what modules hold comes
from the running program (`values.py`: modules' `__dict__`, closures, held objects), so a rebound name is seen, and
swapped aliases are too. In doubt more counts, at most the whole module: to recompute is cheap, a stale row is not.
Only the project's code is looked into (`origins.py`); other packages count by version (`libraries.py`); `walk.py` goes
from the roots to all that they reach. docs/decisions.md says why it is not simply all modules that are imported.

Fields and validators of a class of params are no code: params count by what they are set to. What an annotation names
counts by the classes in it. Module-level statements that do more than bind names (`TABLE["x"] = 1`) count for every
module that a reached one imports. Of a table of components (`components.Registry`) what is taken is held by whoever
took it, and the others do not count.

Refused with `errors.Undigestible`: an object whose value nothing here can tell, and a function that reads a variable of
the environment.

Not seen: what is found by a computed name (`import_module(f"plug_{x}")`, `getattr(thing, name)` on what nothing here
names), docstrings that another module reads, monkeypatched third-party code, and a file that was edited after the
program loaded it. A cache that a module keeps in a dict is seen as a value: use `functools.cache`, which is not.
"""

from mer_pipeline.store.code.reached import Code, code_of

__all__ = ["Code", "code_of"]
