"""The heart: one door to the model, one attack loop. Read attack.py, engine.py and result.py first."""
