"""Decides. Pure: no clock, disk, network, environment or logging; time is an argument."""
