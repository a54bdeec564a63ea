"""Data set formats, one a file."""

from pruning.data.npz import read_npz

READERS = {"npz": read_npz}
