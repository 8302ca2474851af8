"""The doctor beside a worker that has no process free: it names what runs, not only that nothing comes back."""

import uuid

import pytest
from celery import Celery

from classroom import evidence
from classroom.doctor import check_round_trip
from tests.stack.processes import PATIENCE, eventually
from tutorial_tasks.lifecycle import Gate, wait_at_gate


@pytest.mark.long
def test_the_doctor_names_what_a_busy_worker_is_busy_with(app: Celery) -> None:
    app.loader.import_default_modules()
    name = f"busy {uuid.uuid4()}"
    gate = Gate(name)
    gate.close()
    results = [wait_at_gate.delay(name, 2 * PATIENCE) for _ in range(2)]
    try:
        evidence.wait_until(lambda: all(result.state == "STARTED" for result in results), 10, "both processes are busy")
        # It does not wait for a worker that a busy machine holds up.
        finding = eventually(lambda: "no worker says what runs" not in (found := check_round_trip(app)).seen and found, "it has asked")
    finally:
        gate.open()
    assert finding.seen.endswith("the worker is busy with wait_at_gate, wait_at_gate")
    assert "lab.connect()" in finding.remedy
    assert not finding.is_well
    assert [result.get(timeout=10) for result in results] == [name, name]
    eventually(lambda: check_round_trip(app).is_well, "the doctor finds nothing wrong")
