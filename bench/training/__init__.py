"""How is one cell trained? `train.py` has the loop for a CPU, `gpu/` the loop for a GPU."""
