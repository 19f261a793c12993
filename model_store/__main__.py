"""`python -m model_store`."""

from model_store.cli import main

if __name__ == "__main__":
    main()
