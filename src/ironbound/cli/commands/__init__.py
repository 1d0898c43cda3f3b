"""The commands by subject; app.py says what each is called and where it stands in the help."""
