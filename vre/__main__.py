# SPDX-License-Identifier: MIT
"""`python -m vre` is the `vre` command."""

from vre.cli.main import main

main()
