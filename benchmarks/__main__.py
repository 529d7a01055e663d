"""`python -m benchmarks`: what `make bench` runs."""

from benchmarks.first_sweep import main

main()
