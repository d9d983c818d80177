"""Where rows live: Arrow tables with content digests, and canonical shards."""
