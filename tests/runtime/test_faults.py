"""Faults of inputs: kept, told, and raised together."""

from __future__ import annotations

import logging
import pickle

import pytest

from dewedge.errors import InputError, UnwritableError
from dewedge.runtime.faults import Faults


def faults(count: int) -> Faults:
    return Faults(InputError(f"input {i}") for i in range(count))


def test_what_is_wrong_with_one_input_is_kept_and_told(caplog: pytest.LogCaptureFixture):
    kept = faults(1)
    with caplog.at_level(logging.INFO, "dewedge"), kept.left_out():
        raise InputError("a fault")
    assert [str(fault) for fault in kept] == ["input 0", "a fault"]
    assert caplog.messages == ["left out: a fault"]


def test_a_file_that_cannot_be_written_is_no_input_s_fault():
    kept = Faults()
    with pytest.raises(UnwritableError), kept.collected():
        raise UnwritableError("full disk")
    assert not kept


def test_faults_are_raised_where_nothing_is_left():
    faults(2).require_some(["an input"])
    Faults().require_some([])
    with pytest.raises(InputError, match="2 of 2 inputs could not be used: input 0; input 1"):
        faults(2).require_some([])


def test_a_summary_names_some():
    assert str(faults(1).summary(1)) == "input 0"
    expected = "5 of 9 inputs could not be used: input 0; input 1; input 2; and 2 more"
    assert str(faults(5).summary(9)) == expected


def test_processes_exchange_them():
    again = pickle.loads(pickle.dumps(faults(2)))
    assert isinstance(again, Faults) and list(map(str, again)) == ["input 0", "input 1"]
