"""Let ``python -m astro_dist`` be the command."""

from astro_dist.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
