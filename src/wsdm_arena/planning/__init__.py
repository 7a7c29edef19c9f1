"""What is still to be computed, and what it takes: tokens, updates, memory, disk, hours. No model is loaded."""
