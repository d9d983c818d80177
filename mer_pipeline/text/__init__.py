"""Words of a clip: a recogniser of its sound, and the encoders of its transcript and its enriched text."""
