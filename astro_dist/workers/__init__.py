"""Who does tasks, in this process, in others or over Ray; knows no star and no queue."""
