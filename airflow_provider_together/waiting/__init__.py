"""
When it is over: what a look at a cluster means to a waiter, and how all waiters share their looks.

``patience`` is what all waits have in common, ``ready`` and ``gone`` are the two waits, ``rounds`` decides what is
asked next for all of them, and ``shared_poll`` asks.
"""
