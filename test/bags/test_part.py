from vla_ros.bags.part import PartFolder


def test_an_id_is_taken_by_a_finished_bag_and_by_one_that_is_not(tmp_path):
    assert PartFolder.free_id(tmp_path / "none", "play-0") == "play-0"
    (tmp_path / "play-0").mkdir()
    assert PartFolder.free_id(tmp_path, "play-0") == "play-0-2"
    (tmp_path / "play-0-2.part").mkdir()
    assert PartFolder.free_id(tmp_path, "play-0") == "play-0-3"
    assert PartFolder.free_id(tmp_path, "play-00") == "play-00"
