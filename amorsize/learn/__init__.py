"""What real runs took, kept for the next decision."""
