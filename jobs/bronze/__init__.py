"""Landing files become bronze Parquet, one partition an ingest day; lines that break the contract go to quarantine."""
