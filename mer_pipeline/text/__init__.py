"""Words: encoders of the transcript and of the enriched text."""
