"""What is known about a loss before any training? `examine.py` answers; nothing here is imported until it is asked."""
