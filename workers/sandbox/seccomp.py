# SPDX-License-Identifier: MIT
"""The system calls that a domU may make: an allow-list, compiled outside the jail and loaded inside it.

An unlisted call gets EPERM, which programs expect of a missing feature. A call that no program makes by
mistake ends the process at once, and its exit status says so.
"""

from __future__ import annotations

import ctypes
import errno
import tempfile


def _names(text: str) -> list[str]:
    return text.split()


#: What NumPy, Numba's compiler and a polling loop need once everything has been loaded.
ALLOWED = _names(
    """
    access arch_prctl brk clock_getres clock_gettime clock_nanosleep close dup epoll_create1 exit exit_group fstat
    futex getcwd getdents64 getegid geteuid getgid getpid getppid getrandom gettid getuid lseek membarrier mmap
    mprotect mremap munmap nanosleep newfstatat openat poll ppoll pread64 read readlink readlinkat restart_syscall
    rseq rt_sigaction rt_sigprocmask rt_sigreturn sched_getaffinity sched_yield set_robust_list sigaltstack stat
    lstat open statfs sysinfo uname write writev
    """
)

#: What only an attacker calls.
HOSTILE = _names(
    """
    acct add_key bpf chroot delete_module fallocate finit_module fsconfig fsmount fsopen fspick ftruncate
    init_module io_uring_enter io_uring_register io_uring_setup kexec_file_load kexec_load keyctl kill
    lookup_dcookie mount mount_setattr move_mount name_to_handle_at open_by_handle_at open_tree perf_event_open
    personality pidfd_getfd pidfd_open pidfd_send_signal pivot_root process_madvise process_vm_readv
    process_vm_writev ptrace quotactl reboot request_key rt_sigqueueinfo rt_tgsigqueueinfo sched_setaffinity
    sched_setattr sched_setparam sched_setscheduler setns setsid swapoff swapon syslog tgkill tkill truncate umount2
    unshare userfaultfd vmsplice
    """
)

#: Actions (seccomp(2)) and comparisons (enum scmp_compare of seccomp.h).
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_EQ, _MASKED_EQ = 4, 7
_CLONE_THREAD = 0x10000
#: F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC.
_FCNTL = (1, 2, 3, 1030)
#: MADV_NORMAL, WILLNEED, DONTNEED, FREE, HUGEPAGE, NOHUGEPAGE.
_MADVISE = (0, 3, 4, 8, 14, 15)
#: TCGETS, FIONREAD, FIOCLEX: what opening a file in Python asks.
_IOCTL = (0x5401, 0x541B, 0x5451)
_SECCOMP_SET_MODE_FILTER, _TSYNC = 1, 1
_PR_SET_NO_NEW_PRIVS = 38


class SeccompError(RuntimeError):
    """The filter cannot be made or loaded here."""


class _Comparison(ctypes.Structure):
    """libseccomp's scmp_arg_cmp: which argument, how, and with what."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


def _equal(argument: int, value: int) -> _Comparison:
    return _Comparison(argument, _EQ, value, 0)


class _Filter:
    """libseccomp, as far as a filter needs it; a call that has no rule fails with EPERM."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libseccomp.so.2")
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._filter = ctypes.c_void_p(self._library.seccomp_init(ctypes.c_uint32(_ERRNO | errno.EPERM)))
        if not self._filter:
            raise SeccompError("libseccomp makes no filter")

    def rule(self, action: int, name: str, *comparisons: _Comparison) -> None:
        """Add a rule for a call, if this processor has it and libseccomp knows it."""
        number = self._library.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            return
        given = (_Comparison * len(comparisons))(*comparisons)
        add = self._library.seccomp_rule_add_array
        if error := add(self._filter, ctypes.c_uint32(action), number, len(given), given):
            raise SeccompError(f"libseccomp refuses a rule for {name}: error {-error}")

    def program(self) -> bytes:
        """Return the filter as BPF."""
        with tempfile.TemporaryFile() as file:
            if error := self._library.seccomp_export_bpf(self._filter, file.fileno()):
                raise SeccompError(f"libseccomp cannot write its filter: error {-error}")
            self._library.seccomp_release(self._filter)
            file.seek(0)
            return file.read()


def compile_filter() -> bytes:
    """Return the filter as a BPF program for this processor. Raises SeccompError if libseccomp is not there."""
    try:
        made = _Filter()
    except OSError as error:
        raise SeccompError(f"libseccomp cannot be used ({error}); install it (Debian: libseccomp2)") from None
    for name in ALLOWED:
        made.rule(_ALLOW, name)
    for name in HOSTILE:
        made.rule(_KILL_PROCESS, name)
    made.rule(_ALLOW, "clone", _Comparison(0, _MASKED_EQ, _CLONE_THREAD, _CLONE_THREAD))
    # glibc falls back to clone, whose flags can be looked at.
    made.rule(_ERRNO | errno.ENOSYS, "clone3")
    for value in _FCNTL:
        made.rule(_ALLOW, "fcntl", _equal(1, value))
    for value in _MADVISE:
        made.rule(_ALLOW, "madvise", _equal(2, value))
    for value in _IOCTL:
        made.rule(_ALLOW, "ioctl", _equal(1, value))
    # Reading a limit is harmless; setting one is not.
    made.rule(_ALLOW, "prlimit64", _equal(2, 0))
    return made.program()


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def load_filter(program: bytes) -> None:
    """Put all threads of this process under the filter, for good. Raises SeccompError."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    described = _Program(len(program) // 8, program)
    number = {"x86_64": 317, "aarch64": 277}[_machine()]
    if libc.syscall(number, _SECCOMP_SET_MODE_FILTER, _TSYNC, ctypes.byref(described)) != 0:
        raise SeccompError(f"the kernel refuses the filter: error {ctypes.get_errno()}")


def _machine() -> str:
    import platform

    return platform.machine()
