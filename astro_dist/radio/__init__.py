"""The pipeline of radio maps: its stages, its configuration and its trainings."""
