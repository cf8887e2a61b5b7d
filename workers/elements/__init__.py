# SPDX-License-Identifier: MIT
"""The platform's elements, one file a family."""
