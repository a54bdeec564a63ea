"""python -m admin: the same as `secateur-admin`."""

from admin.app import main

if __name__ == "__main__":
    main()
