"""Entry point of ``python -m astro_dist``, the same as the command ``astro-dist``."""

from astro_dist.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
