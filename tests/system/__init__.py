"""Whole systems, as a user runs them: the demo, the README's commands, and one that is broken on purpose."""
