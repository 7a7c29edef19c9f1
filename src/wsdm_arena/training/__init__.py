"""Training under torchrun: run directory, sharded weights, optimizer, schedule, resume state. Knows no Kedro."""
