"""The images of the project, and what is needed to build them."""
