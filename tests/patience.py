"""How long tests wait for what comes within seconds on an idle machine: a busy one is no failure."""

PATIENCE_S = 300.0
"""Costs time only where something fails. A test that hangs is stopped by pytest-timeout, later than this."""
