from wsdm_arena.freshness.changes import parameter_changes


def test_leaves_that_differ_are_named_with_both_values():
    before = {"params:training": {"epochs": 1, "optimizer": {"betas": [0.9, 0.99]}}, "params:seed": 3}
    now = {"params:training": {"epochs": 2, "optimizer": {"betas": [0.9, 0.95], "name": "adamw"}}}
    assert list(parameter_changes(before, now)) == [
        "seed: 3 is gone",
        "training.epochs: 1 -> 2",
        "training.optimizer.betas: [0.9, 0.99] -> [0.9, 0.95]",
        'training.optimizer.name: "adamw" is new',
    ]


def test_a_long_value_is_cut():
    (line,) = parameter_changes({"template": "a" * 500}, {"template": "b" * 500})
    assert len(line) < 160


def test_an_emptied_section_is_a_change():
    assert list(parameter_changes({"weights": {"gemma": 2}}, {"weights": {}})) == [
        "weights: {} is new",
        "weights.gemma: 2 is gone",
    ]
