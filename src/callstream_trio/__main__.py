"""`python -m callstream_trio` is the `callstream` command."""

from callstream_trio.cli import main

if __name__ == "__main__":
    main()
