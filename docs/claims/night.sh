#!/bin/sh
# Everything that docs/claims.md leaves open, from the root of a checkout. What is stopped goes on with the same command: runs lie in
# runs/claims/, shared by the claims that need them. A run of SDS took 17 s with its scores, one of VSD 30 to 60 s: a claim ten minutes to half an hour.
#   sh docs/claims/night.sh            the exact prior: pointwise claims (20 minutes of a core), then whole runs
#   sh docs/claims/night.sh FOLDER     the same and all pointwise claims on the weights that python -m dream3d.toybox.train published there
set -e
claims="python launch.py bench claims"
$claims --prior exact
for name in 3d-balance 3d-nfsd 3d-saturation 3d-diversity 3d-annealing 3d-dreamtime 3d-debias-janus 3d-perp-neg-janus 3d-esd-janus \
            3d-binding 3d-multiview-janus; do
    $claims "$name" --prior exact
done
if [ -n "$1" ]; then
    $claims --prior toybox --model "$1"
    for name in 3d-saturation 3d-diversity 3d-balance 3d-nfsd 3d-annealing 3d-dreamtime 3d-debias-janus 3d-perp-neg-janus 3d-esd-janus; do
        $claims "$name" --prior toybox --model "$1" --runs runs/claims-toybox
    done
fi
