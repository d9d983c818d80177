"""The code part of a transform's fingerprint, which depends on definitions and not on files.

Some root objects (a transform, say) use classes, their bases, functions and constants in many modules. This package
finds all definitions of the project that the roots reach, and digests the abstract syntax tree (AST) of each, without
comments, docstrings and positions. A reformatted file or a new class beside the old ones therefore changes nothing,
while a new formula, constant, default or decorator changes the digest even three calls away.

How it is found:

- The text of a definition comes from the source file (`scopes.py`, `source.py`).
- The object that a name stands for, and the values in modules, closures and objects, come from the running program
  (`values.py`). A name that was bound anew is therefore noticed.
- `walk.py` goes from the roots to all that they reach. In doubt it takes too much, at most the whole module, because
  computing a row again is cheap and a wrong row is not.
- Only the project's code is read (`origins.py`); other packages count by their versions (`libraries.py`).

docs/decisions.md says why this does not simply take all imported modules. Some cases have rules of their own:

- Fields and validators of a params class do not count as code, because params count by their values.
- An annotation counts by the classes in it.
- Module-level statements that do more than bind names (`TABLE["x"] = 1`) count if a reached module imports theirs.
- A table of components (`components.Registry`) does not count, because its users hold the component that they took.

An object that cannot be digested, or a function that reads an environment variable, raises `errors.Undigestible`.

Not noticed are: objects that are found by a computed name (`import_module(f"plug_{x}")`, or `getattr(thing, name)` if
no code here names the result), docstrings that another module reads, patched code of other packages, and edits of a
file after the program loaded it. A dict in a module that is used as a cache counts as a value, so use
`functools.cache`, whose content does not count.
"""

from mer_pipeline.store.code.reached import Code, code_of

__all__ = ["Code", "code_of"]
