"""
When it is over: what a look at a cluster means to somebody who waits, and how all who wait share their looks.

``patience`` is what all waits have in common, ``ready`` and ``gone`` are the two waits, ``rounds`` decides what is
asked next for all of them, and ``shared_poll`` asks.
"""
