"""What the numbers of a claim mean, by claim and prior: said after they were there, for the page; they decide nothing. No torch."""

NOTES: dict[str, dict[str, str]] = {
    "asd-variance": {
        "mixture": "Without guidance (scale 1) ASD's noise is a sixtieth of SDS's, as claimed. At 7.5 both have the noise that "
                   "guidance makes of the difference between a narrow and a wide answer, and what ASD subtracts no longer weighs "
                   "against it.",
        "exact": "As on the mixture: without guidance a fortieth of SDS's noise, at 7.5 as much as SDS.",
        "toybox": "As on the mixture: without guidance a seventieth of SDS's noise, at 7.5 nearly as much as SDS (0.018 against "
                  "0.021).",
    },
    "sdi-seeds": {
        "mixture": "In units of x the variance falls to a fourteenth (the two _cov), as claimed; but the mean falls further, so "
                   "the share that the rule asks for grows.",
        "toybox": "In units of x the variance falls to a quarter; the share, which the rule asks for, from 0.36 to 0.15, more "
                  "than a half, if not beyond doubt.",
    },
    "nfsd-direction": {
        "mixture": "The cosine is 0.99 all the same. A real negative prompt turns the gradient a little, and nothing turns SDS at "
                   "7.5.",
        "exact": "With an empty negative prompt NFSD is 7.5 CSD at these levels (docs/theory/single-pass.md), so this is "
                 "csd-direction once more.",
    },
    "sds-saturation": {
        "mixture": "Between Gaussians the guided density that VSD samples has its mean where SDS at the same scale comes to rest, "
                   "so VSD at 7.5 overshoots too, if less than SDS at 101.",
        "exact": "SDS at 101 is over-saturated by a quarter, VSD at 7.5 by a tenth; only whether SDS is above the bound of 0.25 "
                 "is open.",
    },
    "bsd-saturation": {
        "mixture": "It does not overshoot because it does not arrive: x ends a tenth of the way from the mean of everything, "
                   "behind where it began. In theory it rests wherever its two pulls oppose each other "
                   "(docs/theory/single-pass.md).",
    },
    "dreamtime": {
        "mixture": "Its schedule dwells at t = 0.5 to 0.8, where guidance between Gaussians overshoots most, and hurries through "
                   "small t, which would take it back; the root, which hurries at first, wins.",
        "exact": "Better than random t on average, but not beyond doubt; the root is (root-annealing).",
    },
    "cds-runs": {
        "mixture": "Every run has its own eps*, and CDS drives x to mu - r1 eps* (docs/theory/trajectories.md): what is fixed "
                   "within a run is what differs between runs, while SDS averages its noise away.",
        "exact": "As on the mixture.",
        "toybox": "As on the mixture.",
    },
    "vsd-diversity": {
        "mixture": "At 7.5 the guided density itself is narrow, and VSD samples that; at scale 1 (vsd_plain) it has the data's "
                   "variance.",
    },
    "random-scale": {
        "mixture": "Guiding the student too is what helps; that the scale is drawn adds nothing to it, as the mean gradient is "
                   "linear in it.",
    },
    "pgc-spikes": {
        "mixture": "An untrained encoder's spikes are half again those of none (24 against 16 medians), where three times was asked for; "
                   "whether training makes those of the paper waits for a trained one. Clipping bounds what there is.",
    },
    "pgc-colour": {
        "mixture": "Adam divides a pixel's gradient by its own size, which leaves little for a clip to do.",
    },
    "rescale-saturation": {
        "mixture": "By a tenth: 2.5 beyond the truth instead of 2.7. Half of the contrast is little where guidance has multiplied it.",
        "exact": "0.25 beyond the truth instead of 0.32: less, not gone.",
    },
    "rfds-reverse": {
        "exact": "The share of noise falls (0.46 to 0.30), its absolute amount does not.",
    },
    "ism-seeds": {
        "exact": "0.08 instead of under 0.05, against 0.43 for SDS. Where the answer is the nearest picture, the little noise at "
                 "the start may decide which one that is.",
        "toybox": "0.038 in the mean, against 0.36 for SDS: five prompts of six are under 0.05, the orange plane is not (0.073).",
    },
    "dds-variance": {
        "exact": "The noise of two branches cancels where they answer alike, as Gaussians of equal spread do. Here each branch "
                 "answers with its own nearest pictures.",
        "toybox": "About a half of it cancels (0.031 against 0.061), which is just what the rule asks for.",
    },
    "cds-seeds": {
        "mixture": "Steps of a run agree far better than SDS's noises (0.04 against 0.15), as claimed; runs, which differ in eps*, hardly.",
        "exact": "Steps of a run agree, as claimed; runs differ in eps*.",
        "toybox": "Steps of a run agree, as claimed; runs differ in eps*.",
    },
    "nfsd-noise": {
        "exact": "An unconditional answer is free of noise where pictures vary by more than the noise in their neighbourhood; "
                 "the exact prior's kernels are narrower than that even at t = 0.1.",
    },
    "tsm-error": {
        "exact": "The interval term is an eighteenth as wrong, as claimed, but it is a small part: both whole gradients are "
                 "about as wrong as they are long, so moves of 0.2 end elsewhere than short ones.",
        "toybox": "As claimed: the interval term is a seventeenth as wrong. It is a small part: both whole gradients are off by two "
                  "fifths of their length.",
    },
    "sdi-ddim": {
        "mixture": "Neither follows it. x is inverted as if it were a finished picture, and what that answers lies nearer to the "
                   "prompt's mean each time: x ends there, 0.45 from DDIM's picture, where it began 0.43 away; random noise adds to that.",
        "exact": "A path that ends at one of few pictures cannot be followed back as one between Gaussians can: inversion is a "
                 "coarse walk through the jumps between their neighbourhoods.",
        "toybox": "Nearer to DDIM's picture than random noise leads (0.58 against 0.66), though not beyond doubt; but both end "
                  "further from it than they began (0.44).",
    },
    "dds-identity": {
        "mixture": "Between Gaussians of one spread DDS pulls along the way alone, at any guidance scale; what moves x across it under SDS "
                   "is noise and the way to the prompt's mean.",
        "exact": "DDS moves even a little more outside the object (0.072 against 0.066): each branch answers with its own nearest "
                 "pictures.",
        "toybox": "DDS moves a little more outside the object than SDS does (0.129 against 0.115), as on the exact prior.",
    },
    "3d-saturation": {
        "exact": "SDS at 101 is the more saturated, 1.24 times the truth against 1.14, but not beyond the bound of 1.25: "
                 "guidance saturates less with the exact prior than with a real model (docs/exact-prior.md).",
        "toybox": "1.31 times the truth against 1.24: SDS at 101 is the more saturated, and both are near the bound.",
    },
    "3d-balance": {
        "exact": "BSD leaves more chroma (1.25 against 1.09) and a lower IoU (0.83 against 0.88) than SDS at 15.",
        "toybox": "No difference: 1.29 times the truth's chroma with both.",
    },
    "semantic-binding": {
        "toybox": "From one sentence the trained prior pulls two objects hardly towards their own colours (0.11; with three "
                  "prompts of six away from them); with prompts of their own as strongly as the exact prior does (0.74).",
    },
    "3d-diversity": {
        "exact": "SDS at 101 is the more diverse on the mean (1.4 against 1.1, where two true objects have 1), not beyond "
                 "doubt.",
        "toybox": "As on the exact prior: 1.9 against 1.4.",
    },
    "3d-nfsd": {
        "exact": "The same IoU (0.85 against 0.84) with half of what chroma is too much (1.12 against 1.24).",
        "toybox": "The same IoU (0.77) with less chroma (1.12 against 1.31), but fewer views are recognised (0.89 against 0.98).",
    },
    "3d-dreamtime": {
        "exact": "IoU 0.90 against 0.89, not beyond doubt; both are recognised in every view.",
        "toybox": "IoU 0.80 against 0.82, not beyond doubt; recognised in 1.00 of the views against 0.97. One seed.",
    },
    "3d-annealing": {
        "exact": "IoU 0.90 against 0.88, not beyond doubt; no run of either has more than one front.",
        "toybox": "Random levels, which go on down to t = 0.02, give the better outline (0.81 against 0.79, where annealing ends at "
                  "0.5); no run has more than one front, some have none. One seed.",
    },
    "3d-debias-janus": {
        "exact": "Every object has one front with either, but for the plane, whose front is missing: there is nothing to cut.",
        "toybox": "No run has more than one front; four of six have none without the clamp, three with it. One seed.",
    },
    "3d-multiview-janus": {
        "exact": "Every object has one front with either: there is nothing to cut.",
    },
    "3d-perp-neg-janus": {
        "exact": "There is nothing to cut (one front each, but for the plane, whose front is missing), and Perp-Neg at full "
                 "weight spoils what is there: 0.52 of the views are recognised instead of 0.99.",
        "toybox": "Fronts that are missing outweigh those that are too many, with it (one bear has two) as without. One seed.",
    },
    "3d-esd-janus": {
        "exact": "Where VSD had two fronts, in one prompt, ESD had one; that is too little to tell.",
        "toybox": "As on the exact prior: where VSD had two fronts (the car), ESD had one; three prompts of six have none with either. "
                  "One seed.",
    },
    "3d-binding": {
        "exact": "Both bind: 0.95 and 0.96 of the views are right, so there is little to mend.",
        "toybox": "At 200 steps neither makes two objects that the judge can name (0.04 and 0.13 of the views); the colours of a duck and "
                  "a tree leak from one prompt and stay apart with prompts of their own, which this rule does not ask for. One seed.",
    },
}  # fmt: skip
