"""What `retrain doctor` looks at, one file a subject."""
