"""What the numbers of a claim mean, by claim and prior: said after they were there, for the page; they decide nothing. No torch."""

NOTES: dict[str, dict[str, str]] = {
    "asd-variance": {
        "mixture": "Without guidance (scale 1) ASD's noise is a sixtieth of SDS's, as claimed. At 7.5 both have the noise that guidance makes "
                   "of the difference between a narrow and a wide answer, and what ASD subtracts no longer weighs against it.",
    },
    "sdi-seeds": {
        "mixture": "In units of x the variance falls to a fourteenth (the two _cov), as claimed; but the mean falls further, so the share that "
                   "the rule asks for grows.",
    },
    "nfsd-direction": {
        "mixture": "The cosine is 0.99 all the same. A real negative prompt turns the gradient a little, and nothing turns SDS at 7.5.",
    },
    "sds-saturation": {
        "mixture": "Between Gaussians the guided density that VSD samples has its mean where SDS at the same scale comes to rest, so VSD at 7.5 "
                   "overshoots too, if less than SDS at 101.",
    },
    "bsd-saturation": {
        "mixture": "It does not overshoot because it stops: its two pulls oppose each other nearly everywhere, and x ends a tenth of the way "
                   "from the mean of everything, behind where it began.",
    },
    "dreamtime": {
        "mixture": "Its schedule dwells at t = 0.5 to 0.8, where guidance between Gaussians overshoots most, and hurries through small t, which "
                   "would take it back; the root, which hurries at first, wins.",
    },
    "cds-runs": {
        "mixture": "Every run has its own eps*, and CDS drives x to mu - r1 eps* (docs/theory/trajectories.md): what is fixed within a run is what "
                   "differs between runs, while SDS averages its noise away.",
    },
    "vsd-diversity": {
        "mixture": "At 7.5 the guided density itself is narrow, and VSD samples that; at scale 1 (vsd_plain) it has the data's variance.",
    },
    "random-scale": {
        "mixture": "Guiding the student too is what helps; that the scale is drawn adds nothing to it, as the mean gradient is linear in it.",
    },
    "pgc-spikes": {
        "mixture": "An untrained encoder has hardly more spikes than none: those of the paper are what training made. Clipping bounds what there is.",
    },
    "pgc-colour": {
        "mixture": "Adam divides a pixel's gradient by its own size, so little is left for a clip to do.",
    },
}  # fmt: skip
