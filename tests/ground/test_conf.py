"""Settings: read from Django's when they are first needed, and kept until they change."""

from django.test import override_settings

from broadcast.conf import Conf, conf


def test_a_setting_has_its_default_until_it_is_set_and_again_afterwards() -> None:
    assert conf.RING_COUNT == Conf.RING_COUNT
    with override_settings(BROADCAST_RING_COUNT=7):
        assert conf.RING_COUNT == 7
        with override_settings(BROADCAST_RING_COUNT=8):
            assert conf.RING_COUNT == 8
        assert conf.RING_COUNT == 7
    assert conf.RING_COUNT == Conf.RING_COUNT != 7


def test_what_was_read_is_kept_and_what_others_are_set_to_does_not_matter() -> None:
    with override_settings(BROADCAST_RING_COUNT=7):
        assert conf.RING_COUNT == vars(conf)["RING_COUNT"] == 7
        with override_settings(BROADCAST_RING_BYTES=9, DEBUG=True):
            assert vars(conf)["RING_COUNT"] == 7
            assert conf.RING_BYTES == 9
    assert "RING_COUNT" not in vars(conf)
