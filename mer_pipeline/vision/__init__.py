"""Pictures of a clip: its frames, its faces, and the encoders of both."""
