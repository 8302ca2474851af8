"""Kernels of tests have no TCP ports that another one may take first."""

import nbval.kernel

from tests.notebooks.kernel import kernel


def test_a_kernel_of_a_test_and_one_of_nbval_talk_through_files_of_their_own() -> None:
    with kernel() as one:
        assert one.say("from ipykernel.connect import get_connection_info\nprint(get_connection_info(unpack=True)['transport'])") == "ipc\n"
    ours, another = nbval.kernel.KernelManager(), nbval.kernel.KernelManager()
    assert (ours.transport, another.transport) == ("ipc", "ipc")
    assert ours.ip != another.ip
