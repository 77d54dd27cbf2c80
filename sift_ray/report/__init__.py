"""What a job made, read from what it left behind."""
