"""Pictures: frames, faces and their encoders."""
