"""Real runs, one JSON line for each observation, and what records them anew."""
