# SPDX-License-Identifier: MIT
"""`vre`, and `python -m vre`: from the first moment on a signal ends it without a traceback."""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # What is imported takes some 50 ms, in which Ctrl-C has nothing to undo; then the command has its own handlers.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from vre.cli.main import main

if __name__ == "__main__":
    main()
