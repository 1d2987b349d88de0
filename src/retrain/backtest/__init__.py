"""What a rule would have done on recorded metrics: `retrain backtest`."""
