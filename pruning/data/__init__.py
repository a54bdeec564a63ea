"""Data set formats, one a file. READERS[format](path, how, shelf) puts arrays on a shelf, named as in an npz."""

from pruning.data.npz import read_npz

READERS = {"npz": read_npz}
