# SPDX-License-Identifier: MIT
"""The checks of `make tidy`. Each returns violations as "file:line: what is wrong"."""
