"""Media: the only package that runs ffmpeg and ffprobe."""
