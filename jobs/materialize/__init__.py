"""Loads the newest silver state into the online store, through Feast."""
