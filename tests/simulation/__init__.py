"""A deterministic simulation of nodes that exchange documents while everything goes wrong.

What decides in it is the production core: `kpmsg.register` and `kpmsg.schedule`, nothing copied. Around it stand small models
of what surrounds the core in a node: the store (`store`), the process (`node`), brokers (`network`); `world` breaks all of
them on purpose, by a seed, and `invariants` says what must hold all the same.

    python -m tests.simulation --seeds 2000          many runs, a summary
    python -m tests.simulation --seed 17 --trace     one run, line by line

Signatures are left out: a frame is the value that its verified bytes would give.
"""
