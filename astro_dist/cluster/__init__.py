"""Slurm: sites, submission, shares of a stage, costs and status. No module here depends on astronomy."""
