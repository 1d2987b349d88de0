"""Touches the world, one thing a module; the modules do not know each other."""
