"""Workers: they do tasks in this process, in other processes or over Ray; no astronomy and no queue."""
