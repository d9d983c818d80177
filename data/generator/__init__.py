"""Makes the committed demo split: a small synthetic MER2025 folder with a known truth.

Read in this order: ``plan`` (which clip shows what), ``speaker``, ``acting``, ``face``, ``voice``, ``words``
(one clip), ``video`` (its file), ``odd`` (the files that real folders have too), ``tables`` (the CSVs), ``cli``.
The pipeline never imports this package.
"""
