"""What work is and what lies on the disk: stages, ledger, files, configuration, stopping."""
