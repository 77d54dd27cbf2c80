"""The same measurements as in the rooms above, for many clips at once in torch: on a GPU, or on a CPU to check them.

Importing a module of this room imports torch; the extra `gpu` names it.
"""
