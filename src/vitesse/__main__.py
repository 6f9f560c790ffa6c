"""`python -m vitesse`."""

from vitesse.cli.main import main

if __name__ == "__main__":
    main()
