"""
Talking to Together: what its GPU-cluster API can do, in both of its dialects.

Nothing in here imports Airflow, sleeps or talks to the network, except :mod:`.client`, whose two
drivers do all of it. Read in this order: ``models`` (what things are), ``specs`` (what is asked for), ``call`` (one
request as a value), ``dialects`` (its spelling on the wire), ``client`` (doing it).
"""
