"""What folders and files call the parts of a data set."""

import re

NAMES = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "t10k": "test",
    "val": "val",
    "valid": "val",
    "validation": "val",
}
WORDS = re.compile(r"[a-z0-9]+")


def split_of(name: str) -> str | None:
    """train, test or val, where it is one of the words of a name such as train-00000-of-00001.parquet."""
    return next((NAMES[word] for word in WORDS.findall(name.lower()) if word in NAMES), None)
