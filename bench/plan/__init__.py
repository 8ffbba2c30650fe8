"""What is to be run? A suite, or a part of it, with what a user adds, as cells."""
