"""A synthetic world of cardholders, merchants and fraudsters, written as landing files."""
