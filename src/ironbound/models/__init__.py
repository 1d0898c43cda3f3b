"""Models as Ironbound sees them: a network with its input range, its kind of output, its weights from a file."""
