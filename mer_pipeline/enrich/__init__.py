"""Context enrichment: write for each clip a text with its words and a description of how they were said."""
