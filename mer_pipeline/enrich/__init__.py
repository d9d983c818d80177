"""Context enrichment: the words of a clip, and in words how they were said."""
