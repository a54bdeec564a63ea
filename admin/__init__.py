"""`secateur-admin`: what an operator does; it works on the database and the queue, without HTTP."""
