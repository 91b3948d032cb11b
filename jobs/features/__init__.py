"""The features job: bronze transactions → the silver feature products."""
