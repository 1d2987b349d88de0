"""What the loop would have been worth on a labelled log of predictions: `retrain rehearse`."""
