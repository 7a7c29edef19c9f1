"""From lengths to micro-batches: who reads what, on which rank, in which update.

:mod:`~wsdm_arena.batching.planner` needs numpy only; :mod:`~wsdm_arena.batching.packed` holds tensors, so needs torch.
"""
