"""Data set formats, one a file. READERS[format](path, how, shelf) puts arrays on a shelf, named as in an npz."""

from pruning.data.idx import read_idx
from pruning.data.imagefolder import read_imagefolder
from pruning.data.npz import read_npz
from pruning.data.parquet import read_parquet

READERS = {"npz": read_npz, "imagefolder": read_imagefolder, "idx": read_idx, "parquet": read_parquet}
