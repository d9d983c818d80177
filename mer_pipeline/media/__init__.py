"""Access to media files. No other package opens a video, a sound file or a JPEG."""
