"""What do the rows of a run say? Numbers and words. This package draws nothing and writes no pages."""
