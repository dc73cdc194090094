"""What people run: the command line and the demonstration. No model mathematics lives here."""
