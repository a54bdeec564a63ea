"""HTTP only: routes, schemas, errors. Starts without torch."""
