"""Long-lived Ray actors: thin shells over desk."""
