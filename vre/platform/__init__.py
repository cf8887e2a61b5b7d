# SPDX-License-Identifier: MIT
"""The running platform: start, changes, requests, accounts, end."""
