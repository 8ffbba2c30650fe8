"""What do the rows say? Numbers and words; nothing here draws, or knows of a page."""
