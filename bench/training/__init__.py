"""How is one cell trained? `train.py` has the loop; a GPU has its own in `gpu/`."""
