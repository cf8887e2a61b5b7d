# SPDX-License-Identifier: MIT
"""The platform file: from TOML, or from Python, to a checked model."""
