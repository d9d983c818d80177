"""Tables on disk: rows with their digests, shards, quarantine, and comparing tables value by value."""
