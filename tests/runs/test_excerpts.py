from wsdm_arena.runs.excerpts import leaves, show_first, show_value


def test_long_values_are_cut():
    assert show_value("é" * 58) == '"' + "é" * 58 + '"'
    assert show_value("é" * 59) == '"' + "é" * 59 + "..."
    assert show_value({"a": [1, None]}) == '{"a": [1, null]}'


def test_of_many_the_first_are_shown():
    assert show_first([], 2) == ""
    assert show_first(["a", "b"], 2) == "a, b"
    assert show_first(["a", "b", "c", "d"], 2) == "a, b and 2 more"
    assert show_first(["a", "b", "c"], 2, noun="node") == "a, b and 1 more node"
    assert show_first(["a", "b", "c", "d"], 2, separator="; ", noun="node") == "a; b; and 2 more nodes"


def test_a_tree_has_its_values_by_path():
    tree = {"a": {"b": {"c": 1}, "d": [{"e": 2}]}, "f": {}, "g": None}
    assert list(leaves(tree).items()) == [("a.b.c", 1), ("a.d", [{"e": 2}]), ("f", {}), ("g", None)]
    assert leaves({}) == {}
