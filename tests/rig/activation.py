"""Starts a program with sockets as systemd does (sd_listen_fds(3)): from descriptor 3 on.

`python -m tests.rig.activation 7,9 PROGRAM …` is the program, with these two descriptors. The
number of the process, which it is told, it has only from here on.
"""

import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

FIRST = 3


def start(
    command: Sequence[str],
    sockets: Sequence[socket.socket],
    environment: Mapping[str, str],
    output: IO[bytes],
    directory: Path,
) -> subprocess.Popen[bytes]:
    """Start a command that gets these sockets."""
    descriptors = [sock.fileno() for sock in sockets]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.rig.activation", ",".join(map(str, descriptors)), *command],
        cwd=directory,
        env=environment,
        pass_fds=descriptors,
        stdout=output,
        stderr=output,
    )


def main() -> None:
    _, descriptors, *command = sys.argv
    # Out of the way first: one may be where another one is to be.
    away = [fcntl.fcntl(int(one), fcntl.F_DUPFD_CLOEXEC, 100) for one in descriptors.split(",")]
    for number, descriptor in enumerate(away, FIRST):
        os.dup2(descriptor, number)
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(away)))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
