"""How does a GPU train several cells at a time? Steps as CUDA graphs, on streams, in turns."""
