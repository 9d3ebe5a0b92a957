"""The second wall: the engine's process takes from itself what it does not need, before it opens its folder.

On Linux this is Landlock: from then on the process and all its threads may write the engine's folder alone, read it
and a few files of the system, run no program, listen on no port, and signal nobody. The kernel enforces it, whatever
the engine is asked. Where the kernel has no Landlock, `describe` says so and only the fence of `reader` holds.
"""

import ctypes
import os
import stat
import struct
import sys
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _SIGKILL = 1, 38, 9
_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_WRITE_FILE, _TRUNCATE = 1 << 1, 1 << 14
_BIND_TCP = 1
_SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS = 3
_FILE_ACCESS = _READ_FILE | _WRITE_FILE | _TRUNCATE
# What Landlock of each version knows of the file system: bits 0 to 12, then refer, truncate, ioctl on devices.
_HANDLED = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
# Names and addresses, certificates, the C library's modules, and what the engine asks about machine and process.
READABLE = """
    /etc/hosts /etc/resolv.conf /etc/nsswitch.conf /etc/host.conf /etc/gai.conf /etc/localtime /etc/ld.so.cache
    /etc/ssl/certs /etc/ssl/openssl.cnf /usr/share/ca-certificates /usr/share/zoneinfo /lib /lib64 /usr/lib
    /proc/self /proc/meminfo /proc/cpuinfo /proc/stat /proc/loadavg /proc/uptime /proc/mounts /proc/diskstats /proc/sys
    /proc/net /proc/pressure /sys/devices/system /sys/fs/cgroup /sys/block /dev/random /dev/urandom
"""
WRITABLE_DEVICES = ("/dev/null",)


def version() -> int:
    """Landlock's version in this kernel; 0 where there is none."""
    if sys.platform != "linux":
        return 0
    return max(0, int(_libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)))


def describe() -> str:
    """For `status`: whether the engine's process is confined here."""
    found = version()
    return f"confined (Landlock {found})" if found else "not confined: this kernel has no Landlock"


def die_with_parent() -> None:
    """The kernel ends this process when the front ends, however that ends."""
    if sys.platform == "linux":
        _libc().prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)


def confine(folder: Path) -> bool:
    """Confine this process for good to `folder`; False where the kernel cannot. Raises OSError when it fails to."""
    abi = version()
    if not abi:
        return False
    handled = _HANDLED[min(abi, 5)]
    attributes = struct.pack(
        "QQQ", handled, _BIND_TCP if abi >= 4 else 0, _SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS if abi >= 6 else 0
    )
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = _checked(_CREATE_RULESET, attributes, ctypes.c_size_t(size), 0)
    try:
        _allow(ruleset, str(folder), handled & ~1)  # all but running programs
        for path in READABLE.split():
            _allow(ruleset, path, _READ_FILE | _READ_DIR)
        for path in WRITABLE_DEVICES:
            _allow(ruleset, path, (_READ_FILE | _WRITE_FILE) & handled)
        if _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "the kernel refuses no_new_privs")
        _checked(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return True


def _allow(ruleset: int, path: str, access: int) -> None:
    """A rule for what lies at or beneath `path`; a path that is not there needs none."""
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            access &= _FILE_ACCESS
        _checked(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", access, handle), 0)
    finally:
        os.close(handle)


def _checked(number: int, *arguments: object) -> int:
    answer = int(_libc().syscall(number, *arguments))
    if answer < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"Landlock: {os.strerror(code)}")
    return answer


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
