"""The tests, while processes stand still at random, as on a computer that is too busy: what depends on a moment's haste fails.

`make stalls`, or `python -m tests.stalls --seed 7 -- tests/stack -k scope`
"""

import random
import subprocess
import sys
import time
from contextlib import suppress

import click
import psutil

EVERY = 0.4  # seconds from one stall to the next, on the average
LONGEST = 2.0  # seconds


class Stalls:
    """Stops one process after the other below another one, and has each go on after a while."""

    def __init__(self, top: psutil.Process, dice: random.Random) -> None:
        self.count = 0
        self._top = top
        self._dice = dice
        self._until: dict[psutil.Process, float] = {}

    def turn(self) -> None:
        """Stop one that runs, and let those go on whose time is over."""
        with suppress(psutil.Error):  # it may end while we look
            # A test may have stopped one itself, which is not ours to wake.
            running = [one for one in self._top.children(recursive=True) if one.status() not in ("stopped", "zombie")]
            if running:
                one = self._dice.choice(running)
                self._until[one] = time.monotonic() + self._dice.uniform(0, LONGEST)
                one.suspend()
                self.count += 1
        self.wake(time.monotonic())

    def wake(self, now: float = float("inf")) -> None:
        """Let those go on whose time was over before `now`."""
        for one in [one for one, until in self._until.items() if until <= now]:
            del self._until[one]
            with suppress(psutil.Error):
                one.resume()


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--seed", type=int, default=None, help="The same dice once more; the processes are others all the same.")
@click.argument("args", nargs=-1)
def main(seed: int | None, args: tuple[str, ...]) -> None:
    """Run pytest with these arguments, and stop its processes now and then."""
    seed = random.randrange(1000) if seed is None else seed
    dice = random.Random(seed)
    run = subprocess.Popen([sys.executable, "-m", "pytest", *args])
    stalls = Stalls(psutil.Process(run.pid), dice)
    try:
        while run.poll() is None:
            stalls.turn()
            time.sleep(dice.uniform(0, 2 * EVERY))
    finally:
        stalls.wake()
    click.echo(f"{stalls.count} stalls, seed {seed}")
    sys.exit(run.returncode)


if __name__ == "__main__":
    main()
