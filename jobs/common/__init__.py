"""What the jobs share: settings, command line, logging, the lake, manifests, digests, Spark."""
