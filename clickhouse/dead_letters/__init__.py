"""Dead letters: who writes them, the table over them, and the way back."""
