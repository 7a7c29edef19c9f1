import numpy as np
import pytest
import torch

from wsdm_arena.batching.packed import PackedBatch


def test_sequences_lie_end_to_end_and_positions_restart():
    batch = PackedBatch.from_sequences(
        [np.array([7, 8, 9], dtype=np.int32), np.array([5], dtype=np.int32), np.array([1, 2])]
    )
    assert batch.input_ids.tolist() == [7, 8, 9, 5, 1, 2]
    assert batch.position_ids.tolist() == [0, 1, 2, 0, 0, 1]
    assert batch.cu_seqlens.tolist() == list(batch.boundaries) == [0, 3, 4, 6]
    assert (batch.num_segments, batch.num_tokens, batch.lengths, batch.max_seqlen) == (3, 6, (3, 1, 2), 3)
    assert (batch.input_ids.dtype, batch.position_ids.dtype, batch.cu_seqlens.dtype) == (
        torch.int64,
        torch.int64,
        torch.int32,
    )


def test_moving_keeps_the_host_boundaries():
    batch = PackedBatch.from_sequences([np.array([7, 8]), np.array([9])]).to("meta")
    assert {tensor.device.type for tensor in (batch.input_ids, batch.position_ids, batch.cu_seqlens)} == {"meta"}
    assert batch.boundaries == (0, 2, 3)


@pytest.mark.parametrize("sequences", [[], [np.array([1]), np.array([], dtype=np.int64)]])
def test_nothing_to_pack_is_refused(sequences):
    with pytest.raises(ValueError, match="cannot pack"):
        PackedBatch.from_sequences(sequences)


def test_a_placeholder_is_one_token():
    assert PackedBatch.placeholder().input_ids.tolist() == [0]
