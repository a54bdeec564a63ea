"""The whole service on one machine: starts and supervises the broker, the API and the workers."""
