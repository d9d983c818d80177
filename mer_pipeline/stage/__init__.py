"""Code that the scripts in stages/ share: one-sentence error messages, a log, a progress bar, and running a step."""
