"""A fast online path for Feast on Redis: the bytes that stock Feast stores, without an object for each value."""
