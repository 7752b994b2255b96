"""Nodes that speak the protocol and run nothing. ``node.py`` is one of them, pure; ``process.py`` runs hundreds in one
process, and starts that. What is left to measure is what their leader costs.
"""
