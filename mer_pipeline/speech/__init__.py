"""Sound of a clip: its track at 16 kHz in mono, and the encoders of it."""
