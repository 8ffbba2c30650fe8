"""How are the cells of a suite run and recorded? The runner, its state, the order of cells, the display."""
