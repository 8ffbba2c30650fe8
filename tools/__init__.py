"""How do we test and measure ourselves? Not part of what is installed."""
