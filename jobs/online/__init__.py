"""Between silver and Redis: Feast's stores and engine by class path, the read path, and what is loaded."""
