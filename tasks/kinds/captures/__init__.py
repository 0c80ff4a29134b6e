"""What verbs do with captures: one performance, recorded by cameras and microphones."""
