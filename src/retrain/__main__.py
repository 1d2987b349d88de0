"""`python -m retrain` is `retrain`."""

from retrain.cli import main

main()
