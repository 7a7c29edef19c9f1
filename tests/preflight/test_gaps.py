from wsdm_arena.preflight.gaps import find_gap, warn_of_gap


def test_nodes_between_the_selected_ones_are_found_and_warned_of(plan, caplog):
    run = plan(["teacher.gemma.select", "teacher.gemma.evaluate"])
    assert find_gap(run) == ["teacher.gemma.train"]
    assert warn_of_gap(run) == []
    assert "1 nodes lie between the selected ones and are not run, such as teacher.gemma.train" in caplog.text


def test_a_selection_without_a_gap_has_none(plan, caplog):
    for nodes in (["teacher.gemma.select", "teacher.gemma.train"], ["build_battles", "split_by_language"], None):
        assert find_gap(plan(nodes)) == []
    assert find_gap(plan(pipeline="simulated_arena")) == []
    assert warn_of_gap(plan()) == []
    assert caplog.text == ""
