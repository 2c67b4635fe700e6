"""The public interface, whose names `astro_dist` hands out: runs, their products, data sets, stamps."""
