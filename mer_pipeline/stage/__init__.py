"""What the scripts in stages/ are made of: errors as sentences, a log, a progress bar, and running a step."""
