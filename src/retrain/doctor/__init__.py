"""`retrain doctor`: what it tests, a file a subject, and the repair of the journal."""
