"""The machinery of training: one loop for every stage, resumable to the bit."""
