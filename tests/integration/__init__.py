"""The programs of others that retrain works with: real ones, each in an environment of its own (`make integration`)."""
