# Generated from secateur/_async/__init__.py by client/generate.py: edit that one.
"""The client; _sync is generated from _async by client/generate.py."""
