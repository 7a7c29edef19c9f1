from wsdm_arena.runs.entry_names import TRANSCODINGS, is_parameter, untranscoded, without_parameters


def test_parameters_are_told_from_data():
    names = ["battles", "params:seed", "parameters", "teacher.gemma.selection@path", "parameters_report", "params:a.b"]
    assert [name for name in names if is_parameter(name)] == ["params:seed", "parameters", "params:a.b"]
    assert without_parameters(names) == ["battles", "teacher.gemma.selection@path", "parameters_report"]


def test_an_entry_has_one_name_however_it_is_loaded():
    assert {untranscoded(f"teacher.gemma.selection{coding}") for coding in TRANSCODINGS} == {"teacher.gemma.selection"}
