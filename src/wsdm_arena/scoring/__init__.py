"""Predictions keyed by ``(pair_id, order)``: made, combined and compared with the votes."""
