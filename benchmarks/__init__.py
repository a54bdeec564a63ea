"""Measurements that take too long, or depend too much on the machine, for CI: each prints a table and writes JSON."""
