"""python -m admin: the same as `secateur-admin`."""

from admin.app import app

if __name__ == "__main__":
    app()
