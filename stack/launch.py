"""The last steps before a child process becomes its program.

Run as a file by `stack.processes` (`python -I -S launch.py …`), hence the standard library only. It
ties the child's life to its parent's, gives up root where the program insists on that, and
execs, so that the process id the parent knows is the program's own.
"""

import ctypes
import os
import sys
from pathlib import Path
from typing import NoReturn

# `nobody` on every Linux. PostgreSQL only insists on not being 0.
NOBODY = 65534

# What a shell answers when a command was found and could not be run.
NOT_RUNNABLE = 126

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> NoReturn:
    """Become the command after `--`: `PARENT SIGNAL [FOLDER] -- COMMAND…`.

    With FOLDER, a process of root first turns into one that is not: see `give_up_root`.
    """
    split = arguments.index("--")
    parent, signal, *folders = arguments[:split]
    command = arguments[split + 1 :]
    if folders and os.geteuid() == 0:
        give_up_root(Path(folders[0]))
    # After the change of identity, which clears it. Elsewhere than on Linux there is no such thing.
    if sys.platform == "linux":
        _libc.prctl(PR_SET_PDEATHSIG, int(signal), 0, 0, 0)
    if os.getppid() != int(parent):
        # The parent died before the line above; nobody would ever stop us.
        sys.exit(0)
    try:
        os.execv(command[0], command)  # noqa: S606 — the point: no shell between us and the program.
    except OSError as error:
        sys.stderr.write(f"cannot run {command[0]}: {error.strerror}\n")
        sys.exit(NOT_RUNNABLE)


def give_up_root(folder: Path) -> None:
    """Stop being root, yet keep the use of `folder` and of whatever root could read.

    In a user namespace of our own we look like `nobody` inside and stay root's process outside:
    files keep their owner and no folder has to be opened to others. Where namespaces are refused
    (containers, mostly) we become `nobody` and keep the one capability to pass folder modes; then
    `folder` changes its owner, as PostgreSQL wants to own its data.
    """
    if _namespace_allowed():
        _own(folder, 0)
        _enter_namespace()
        return
    _own(folder, NOBODY)
    _libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    _keep_passing_folders()


def _namespace_allowed() -> bool:
    """Try in a child: a namespace that was entered cannot be left again."""
    if os.environ.get("BECKON_USER_NAMESPACE") == "never":
        return False
    probe = os.fork()
    if probe == 0:
        try:
            _enter_namespace()
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(probe, 0)[1] == 0


def _enter_namespace() -> None:
    user, group = os.geteuid(), os.getegid()
    if _libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{NOBODY} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{NOBODY} {group} 1")


def _own(folder: Path, user: int) -> None:
    """Hand the folder over, when the way of giving up root changed since the last start."""
    for path in (folder, *folder.rglob("*")):
        if path.lstat().st_uid != user:
            os.lchown(path, user, user)


def _keep_passing_folders() -> None:
    """Carry CAP_DAC_OVERRIDE over the exec; without it, plain permissions must do."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    bit = 1 << CAP_DAC_OVERRIDE
    capabilities = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
    if _libc.capset(header, capabilities) == 0:
        _libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)


if __name__ == "__main__":
    main(sys.argv[1:])
