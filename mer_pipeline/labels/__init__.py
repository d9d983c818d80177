"""From the votes of several sources to the label that is trained on: votes, refinement, audit."""
