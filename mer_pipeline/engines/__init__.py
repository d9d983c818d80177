"""How a transform is carried out: what an engine is, and the one of this machine."""
