"""How a transform is carried out: on this machine (`local`)."""
