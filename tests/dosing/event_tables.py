"""Drugs of event tables, as studies name them."""

ONE = {"1": ("romiplostim", "sc", "ug")}
TWO = {"1": ("romiplostim", "sc", "ug"), "2": ("romiplostim", "iv", "ug/kg")}
