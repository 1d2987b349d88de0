"""What `retrain doctor` looks at, a room each: settings, metrics, training, gate, store, present."""
