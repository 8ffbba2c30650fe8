"""How does a GPU train several cells together? With steps as CUDA graphs, on streams, in turns."""
