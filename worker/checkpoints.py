"""Checkpoints as bytes: safetensors, with the numbers in its metadata. Nothing in it can run code."""

import json

from safetensors.torch import load as load_tensors
from safetensors.torch import save

from pruning.stages.problem import Checkpoint


def dump(checkpoint: Checkpoint) -> bytes:
    """A checkpoint as bytes."""
    head = {k: v for k, v in vars(checkpoint).items() if k != "tensors"}
    return save(dict(checkpoint.tensors), metadata={"secateur": json.dumps(head)})


def load(content: bytes) -> Checkpoint:
    """The checkpoint that dump wrote. Raises: ValueError, KeyError, SafetensorError: it is damaged."""
    length = int.from_bytes(content[:8], "little")
    head = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["secateur"])
    return Checkpoint(tensors=load_tensors(content), **head)
