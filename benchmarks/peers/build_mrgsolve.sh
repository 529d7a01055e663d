#!/bin/sh
# Builds mrgsolve from a folder with its public source (github.com/metrumresearchgroup/mrgsolve, a release tag) for the peers' benchmark.
#
#   sh benchmarks/peers/build_mrgsolve.sh SOURCE [LIBRARY]      # or MRGSOLVE_SOURCE=SOURCE sh ...; LIBRARY: out/peers/r-library
#
# Needs Debian's r-base-dev r-cran-rcpp r-cran-rcpparmadillo r-cran-bh r-cran-dplyr r-cran-magrittr r-cran-tibble r-cran-rlang
# r-cran-tidyselect r-cran-glue r-cran-lifecycle. mrgsolve is GPL: none of it is in this tree.
set -eu
source=${1:-${MRGSOLVE_SOURCE:-}}
root=$(cd "$(dirname "$0")/../.." && pwd)
library=${2:-$root/out/peers/r-library}
command -v R >/dev/null || { echo "skipped: R is not installed"; exit 0; }
[ -f "$source/DESCRIPTION" ] || { echo "skipped: give the folder with the source of mrgsolve"; exit 0; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$source" "$work/mrgsolve"
# It asks for a newer BH than Debian 12 has, and builds with the older.
sed -i 's/BH (>= [0-9.-]*)/BH/' "$work/mrgsolve/DESCRIPTION"
printf 'CXXFLAGS = -O3 -march=native\nCXX11FLAGS = -O3 -march=native\nCXX14FLAGS = -O3 -march=native\nCXX17FLAGS = -O3 -march=native\nCFLAGS = -O3 -march=native\n' >"$work/Makevars"
mkdir -p "$library"
R_MAKEVARS_USER=$work/Makevars MAKEFLAGS=${MAKEFLAGS:--j2} R CMD INSTALL --no-docs --no-test-load --library="$library" "$work/mrgsolve"
