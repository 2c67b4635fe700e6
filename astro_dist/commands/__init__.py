"""What the commands of `astro-dist` do, a module for each kind; `astro_dist.cli` parses and chooses."""
