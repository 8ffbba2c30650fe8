"""How do many cells become rows? The runner, its state, its order of work, its display."""
