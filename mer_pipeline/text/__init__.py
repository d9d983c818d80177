"""Words of a clip: the encoders of its transcript and of its context-enriched text."""
