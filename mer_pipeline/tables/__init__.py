"""Tables on disk: rows with their digests, shards, quarantine tables, and the comparison of tables by value."""
