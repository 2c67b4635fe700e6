"""Pipelines that make and judge synthetic astronomical images, on one laptop or a Slurm cluster.

A pipeline is a list of stages with a configuration; `astro_dist.pipelines` lists all of them. The runner
(`astro_dist.runner`) brings the stages to their end over a run directory, in one process, several processes
or a Ray cluster, with the same bytes each time. The pipeline `radio` makes synthetic radio maps with an exact
truth from survey maps.
"""

__version__ = "0.1.0"
