"""`python -m strictarp`: the same program as the console script."""

from strictarp.cli.main import entry

if __name__ == "__main__":
    entry()
