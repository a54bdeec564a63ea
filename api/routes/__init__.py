"""One noun a file: router and schemas."""
