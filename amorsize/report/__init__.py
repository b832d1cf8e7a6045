"""Facts and plans in words and pictures."""
