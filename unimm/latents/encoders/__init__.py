"""Vision encoders: one file for each family, one class for all they share."""
