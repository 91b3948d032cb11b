"""The mode that needs no container, no server and no root: the real DAG and the real jobs as processes of one machine.

``python -m embedded.demo`` runs the pipeline, ``python -m embedded.features`` reads a card's online features.
"""
