"""`python -m hvci`, for machines where scripts are not on the path. Knows only the command line."""

from hvci.cli import main

if __name__ == "__main__":
    main(prog_name="hvci")
