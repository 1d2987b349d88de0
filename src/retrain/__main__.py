"""`python -m retrain` is `retrain`."""

from retrain.start import main

main()
