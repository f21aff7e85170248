"""A small explicit-state model checker of the rules of coherent caching (DESIGN section 6).

Order of reading: `rules` (what can be taken away), `state`, then what may happen next: `bus`
(time, leases, restarts), `writes`, `reads`; `explore` walks through all interleavings.

The model is asynchronous: any process may stand still for any time, while time goes on. So a pause
(SIGSTOP) and its end need no step of their own: they are the interleavings in which one process
takes no step.
"""
