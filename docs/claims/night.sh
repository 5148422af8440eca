#!/bin/sh
# What docs/claims.md has of a prior, from the root of a checkout. What is stopped goes on with the same command: runs lie in
# runs/claims-PRIOR, shared by the claims that need them. A night of two slow cores each (a run 10 to 40 s of one core, scores included; pointwise claims two
# hours of one core on the trained prior, 20 minutes on the exact one).
#   sh docs/claims/night.sh            the exact prior: pointwise claims, then whole runs
#   python launch.py bench claims --prior mixture     its claims, in minutes
#   sh docs/claims/night.sh toybox     the same on the trained prior that ships
#   sh docs/claims/night.sh toybox --seeds 2     its whole runs with two seeds instead of three
set -e
claims="python launch.py bench claims"
prior="${1:-exact}"
[ $# -eq 0 ] || shift
$claims --prior "$prior"
for name in 3d-balance 3d-nfsd 3d-saturation 3d-diversity 3d-annealing 3d-dreamtime 3d-debias-janus 3d-perp-neg-janus 3d-esd-janus \
            3d-binding 3d-multiview-janus; do
    $claims "$name" --prior "$prior" "$@" || [ $? -eq 6 ]  # some runs failed, which the page says
done
