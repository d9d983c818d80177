"""Turn the votes of several sources into the labels that heads are trained on: votes, refinement and pseudo-labels."""
