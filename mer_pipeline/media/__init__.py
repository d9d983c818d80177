"""The one seam to media files: nothing else opens a video, a sound file or a JPEG."""
