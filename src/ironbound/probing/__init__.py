"""What there is and what applies: facts of the named parts, and what the library sees of a model and its data."""
