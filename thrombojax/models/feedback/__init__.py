"""The flagship: the thrombopoietin-platelet feedback, one mechanism per file, assembled in `assemble.py`."""
