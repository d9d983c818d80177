"""The store, which keeps all computed rows, and the fingerprints under which it keeps them."""
