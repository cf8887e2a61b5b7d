# SPDX-License-Identifier: MIT
"""The system calls that a domU may make: an allow-list, compiled outside the jail and loaded inside it.

A call that is not known gets EPERM, as a program expects that something is not there. A call that nobody makes by
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


def compile_filter() -> bytes:
    """Return the filter as a BPF program for this processor. Raises SeccompError where libseccomp is not there."""
    try:
        import pyseccomp as sc
    except (ImportError, RuntimeError, OSError) as error:
        raise SeccompError(f"libseccomp cannot be used ({error}); install it (Debian: libseccomp2)") from None
    program = sc.SyscallFilter(sc.ERRNO(errno.EPERM))
    for name in ALLOWED:
        _rule(program, sc.ALLOW, name)
    for name in HOSTILE:
        _rule(program, sc.KILL_PROCESS, name)
    _rule(program, sc.ALLOW, "clone", sc.Arg(0, sc.MASKED_EQ, _CLONE_THREAD, _CLONE_THREAD))
    # glibc falls back to clone, whose flags can be looked at.
    _rule(program, sc.ERRNO(errno.ENOSYS), "clone3")
    for value in _FCNTL:
        _rule(program, sc.ALLOW, "fcntl", sc.Arg(1, sc.EQ, value))
    for value in _MADVISE:
        _rule(program, sc.ALLOW, "madvise", sc.Arg(2, sc.EQ, value))
    for value in _IOCTL:
        _rule(program, sc.ALLOW, "ioctl", sc.Arg(1, sc.EQ, value))
    # Reading a limit is harmless; setting one is not.
    _rule(program, sc.ALLOW, "prlimit64", sc.Arg(2, sc.EQ, 0))
    with tempfile.TemporaryFile() as file:
        program.export_bpf(file)
        file.seek(0)
        return file.read()


def _rule(program: object, action: object, name: str, *arguments: object) -> None:
    import pyseccomp as sc

    try:
        number = sc.resolve_syscall(sc.Arch.NATIVE, name)
    except (ValueError, OSError):
        return
    # Negative: a call that this processor does not have, or that its libseccomp does not know.
    if number >= 0:
        program.add_rule(action, name, *arguments)  # type: ignore[attr-defined]


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
