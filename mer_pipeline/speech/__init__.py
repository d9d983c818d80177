"""Sound: the 16 kHz mono track and its encoders."""
