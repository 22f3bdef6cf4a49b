"""`python -m synthgen` is the same program."""

from synthgen.cli import main

if __name__ == "__main__":
    main()
