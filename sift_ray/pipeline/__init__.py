"""The Ray Data wiring, one module a stage: the only room that knows Ray.

Rooms below it hold plain functions over Arrow tables and NumPy arrays, so that they can be tested with no cluster.
"""
