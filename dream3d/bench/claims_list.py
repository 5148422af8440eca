"""The claims, their papers and the rules they are judged by. A rule was written down before anything was measured. No torch.

How a number is made stands at its function (`measure`) and, for whole runs, in dream3d/bench/measures.py; the words here are its definition
for the page. Unless said otherwise: 6 prompts x 3 seeds, scale 7.5, every other setting the formula's default, noise levels t = 0.2, 0.5
and 0.8 one by one and then the mean over them, 16 noises at 4 views.
"""

from dream3d.bench.claims_core import Claim
from dream3d.bench.claims_list_runs import RUNS, SILENT

COV = "tr Cov of g per number of x over 16 noises"
OVERSHOOT = ("played in x for 250 (mixture) or 120 (pictures) steps of Adam: how far beyond the truth x ends (position between the"
             " mean of everything and the prompt's, or chroma over the true object's, less 1).")
END = "played in x as above; root mean square of x0_hat - x at t = 0.3 (prompt alone, no guidance) at the end; SDS."
NOT_GAUSSIAN = {"exact": "a student here is its prior plus three convolutions and cannot learn a density over particles",
                "toybox": "not asked: a student there, the network with LoRA, takes hours to learn an ensemble"}  # fmt: skip
NO_DENSITY = dict.fromkeys(("exact", "toybox"), "needs a student whose density is known, as only Gaussians have one")
NO_MODE = {"toybox": "waits for a trained autoencoder", "exact": "has no encoder"}

NOISE = (
    Claim("asd-variance", "ma2024scaledreamer",
          "ASD's gradient is far less noisy than SDS's, without a student.",
          COV + ", both with w = sigma^2; far: at most half.",
          ("sds_cov > 2 * asd_cov",),
          "noise.asd_variance"),
    Claim("asd-shift", "ma2024scaledreamer",
          "A later noise level stands for a fine-tuned student: the frozen network's denoising error falls as t rises.",
          "E |eps_hat - eps|^2 per number of x at data, t = 0.1, 0.3, 0.5, 0.7, 0.9.",
          ("min(error_10 - error_30, error_30 - error_50, error_50 - error_70, error_70 - error_90) > 0",),
          "noise.denoising_error"),
    Claim("sjc-variance", "wang2022sjc",
          "Subtracting the injected noise lowers the variance of the gradient.",
          COV + ", SJC at its scale 100 with the noise kept and subtracted.",
          ("log(kept_cov) > log(subtracted_cov)",),
          "noise.sjc_variance"),
    Claim("rfds-reverse", "yang2024rfds",
          "Refining the noise first makes the gradient depend less on the seed.",
          COV + ", RFDS and its reverse form, scale 100, unshifted levels.",
          ("log(plain_cov) > log(reverse_cov)",),
          "noise.rfds_reverse"),
    Claim("ism-seeds", "liang2023luciddreamer",
          "Inversion takes the randomness out of the gradient: ISM's seed variance is near zero.",
          "tr Cov / (|mean|^2 + tr Cov) over 16 seeds at a fixed t, started from the lowest level's noise as the authors' code "
          "does; near zero: under 0.05.",
          ("0.05 > ism_share", "sds_share > ism_share"),
          "noise.ism_seeds"),
    Claim("sdi-seeds", "lukoianov2024sdi",
          "Noise found by inversion instead of drawn takes the variance out of SDS.",
          "tr Cov / (|mean|^2 + tr Cov) over 16 seeds at a fixed t, SDI as its authors set it (eta 0.3) and with random noise; a "
          "factor of two is asked for.",
          ("random_share > 2 * inverted_share",),
          "noise.sdi_seeds"),
    Claim("dds-variance", "hertz2023dds",
          "The noisy component of SDS cancels in the difference of two branches.",
          COV + " at the start of an edit (x is the source), w = 1.",
          ("sds_cov > 2 * dds_cov",),
          "noise.dds_variance"),
    Claim("cds-seeds", "wu2024consistent3d",
          "One fixed noise makes the guidance deterministic and consistent.",
          "tr Cov / (|mean|^2 + tr Cov) of CDS over 16 steps of one run (t1 is drawn), of SDS over 16 noises, and of CDS over 16 "
          "runs (another eps*); scale 101.",
          ("sds_steps > 2 * cds_steps", "sds_steps > cds_runs"),
          "noise.cds_seeds"),
    Claim("js-variance", "xu2025fdistill",
          "Jensen-Shannon's bounded weight keeps the gradient quieter than forward KL's.",
          COV + ", exact ratio, student N(mu / 2, 0.5^2) at a scene half way to the data, scale 1.",
          ("log(forward_kl) > log(js)",),
          "noise.divergence_variance", silent=NO_DENSITY),
    Claim("csd-direction", "yu2023csd",
          "The classifier's score alone points where SDS at 100 does.",
          "cosine of CSD's mean gradient with SDS's at 101; beside it that of SDS at 7.5.",
          ("csd_cosine > 0.9", "csd_cosine > sds_cosine"),
          "noise.csd_direction"),
    Claim("nfsd-direction", "katzir2023nfsd",
          "NFSD at 7.5 points where SDS at 100 does, and nearer to it than SDS at 7.5.",
          "cosine of NFSD's mean gradient with SDS's at 101; beside it that of SDS at 7.5. The negative prompt is another "
          "component of the mixture; the toybox has no words for bad pictures, so there it is empty.",
          ("nfsd_cosine > 0.9", "nfsd_cosine > sds_cosine"),
          "noise.nfsd_direction"),
    Claim("csd-part", "yu2023csd",
          "At scale 100 the classifier's part decides SDS, not the generative one.",
          "root mean square of 100 (eps_c - eps_empty) and of eps_c - eps at t = 0.5.",
          ("log(classifier) > log(generative)",),
          "noise.csd_part"),
    Claim("nfsd-noise", "katzir2023nfsd",
          "At little noise (t < 0.2) the unconditional answer is nearly free of the injected noise.",
          "<eps_empty, eps> / <eps, eps> over 16 noises at data, t = 0.1 and 0.8; nearly free: under a half.",
          ("0.5 > kept_10", "kept_80 > kept_10"),
          "noise.unconditional_noise"),
    Claim("perp-neg", "armandpour2023perpneg",
          "Perp-Neg pulls away from what must not be seen and leaves the pull towards the prompt as it is.",
          "component of SDS's mean pull along the pull of the negative row (back, for views of the front) and along the prompt's, "
          "in units of SDS's own pull; t = 0.8, weight -1.",
          ("plain_bad > perp_bad", "perp_good > 0.9 * plain_good"),
          "noise.perp_neg"),
)  # fmt: skip

PATHS = (
    Claim("tsm-error", "miao2024dreamerxl",
          "Two paths from one start accumulate less error than ISM's single one.",
          "what moves of 0.2 on the way to s change against moves of 0.02, clean start, t = 0.5 and 0.8: of the interval term "
          "alone (empty prompt), and of the whole gradient as a share of its size.",
          ("ism_interval > tsm_interval", "ism_whole > tsm_whole"),
          "path.tsm_error"),
    Claim("one-step-smooth", "liang2023luciddreamer",
          "SDS's targets, made in one step, are averages: poorer in detail than what several steps find.",
          "mean squared difference of neighbouring numbers of x0_hat after one step from t = 0.8, and after DDIM in 16, from the "
          "same noised data.",
          ("log(many) > log(one)",),
          "path.one_step"),
    Claim("sdi-ddim", "lukoianov2024sdi",
          "With inverted noise distillation follows DDIM; with random noise it does not.",
          "root mean square distance to DDIM's picture after 19 moves x <- x0_hat at the same levels from the same start, and of that "
          "start; no guidance, eta = jitter = 0.",
          ("random > inverted", "start > inverted"),
          "path.sdi_ddim"),
)  # fmt: skip

PLAY = (
    Claim("sds-saturation", "wang2023prolificdreamer",
          "SDS over-saturates at scale 100; VSD at 7.5 does not.",
          OVERSHOOT + " Over-saturated: more than 0.25.",
          ("sds > 0.25", "0.25 > vsd", "sds > vsd"),
          "play.saturation"),
    Claim("bsd-saturation", "huang2024placiddreamer",
          "Balanced scores avoid over-saturation.",
          OVERSHOOT + " Both at scale 15.",
          ("abs(sds) > abs(bsd)",),
          "play.balanced"),
    Claim("rescale-saturation", "shi2023mvdream",
          "Rescaling x0_hat's contrast by a half lessens over-saturation.",
          OVERSHOOT + " SDS on x0 at scale 50.",
          ("abs(plain) > abs(rescaled)",),
          "play.rescaled"),
    Claim("annealing", "guo2023stabledreamer",
          "Annealing the noise levels improves what SDS converges to.",
          END + " Window [0.02, 0.98], or its upper end falling from 0.98 to 0.3.",
          ("random > annealed",),
          "play.annealing"),
    Claim("dreamtime", "huang2023dreamtime",
          "A falling, non-uniform schedule of t is better than random t.",
          END + " Random in [0.02, 0.98], or DreamTime's from 0.98 to 0.02.",
          ("random > dreamtime",),
          "play.dreamtime"),
    Claim("root-annealing", "zhu2023hifa",
          "t falling with the root of progress is better than random t.",
          END + " Random in [0.02, 0.98], or the root from 0.98 to 0.02.",
          ("random > root",),
          "play.root"),
    Claim("cds-runs", "wu2024consistent3d",
          "CDS is consistent over seeds where SDS is not.",
          "variance per number of x between the ends of four plays of 125 (60) steps that start alike and differ in the seed; SDS "
          "at CDS's mean scale with w = 1.",
          ("log(sds) > log(cds)",),
          "play.run_seeds"),
    Claim("dds-identity", "hertz2023dds",
          "DDS edits leave alone what need not change, where SDS does not.",
          "root mean square change of x across the way from source to prompt (mixture), or outside the object (pictures), after "
          "120 steps of an edit, as long for all of x together as Adam's: what is pulled little moves little, as under the authors' SGD.",
          ("sds > dds",),
          "play.edits"),
    Claim("pds-identity", "koo2023pds",
          "PDS keeps more of the source than DDS.",
          "as for dds-identity, both at 7.5.",
          ("dds > pds",),
          "play.edits", silent={"mixture": "between Gaussians of one spread neither moves x across the way from source to prompt"}),
    Claim("vsd-diversity", "wang2023prolificdreamer",
          "VSD's particles are more diverse than SDS's.",
          "variance per number over 24 particles after 250 steps (the data's is 0.25): SDS at 101, VSD at 7.5, both t from [0.02, "
          "0.98]; a factor of two is asked for.",
          ("log(vsd) > log(2 * sds)",),
          "play.ensemble", silent=NOT_GAUSSIAN),
    Claim("vsd-distribution", "wang2023prolificdreamer",
          "VSD samples the prior's distribution where SDS seeks its mode.",
          "as for vsd-diversity, VSD at scale 1: within a fifth of the data's variance, 0.25.",
          ("0.05 > abs(vsd_plain - 0.25)", "vsd_plain > sds"),
          "play.ensemble", silent=NOT_GAUSSIAN),
    Claim("vsd-one-particle", "wang2024esd",
          "With a single particle VSD seeks the mode as SDS does.",
          "variance over 24 particles that each have a student of their own, and that share one, scale 1; a factor of two is asked"
          " for.",
          ("log(vsd_plain) > log(2 * vsd_alone)",),
          "play.ensemble", silent=NOT_GAUSSIAN),
    Claim("esd-diversity", "wang2024esd",
          "The entropy term spreads what the views show.",
          "variance per number over 24 views with exact students, scale 1: lambda = 0 (VSD), 0.5.",
          ("log(esd) > log(vsd)",),
          "play.entropy", silent=NOT_GAUSSIAN),
    Claim("f-modes", "xu2025fdistill",
          "Forward KL covers modes, reverse KL seeks one.",
          "one Gaussian before two modes 8 deviations apart, started nearer to one; share of its mass on the lesser mode's side. "
          "Covers: over 0.25; seeks: under it.",
          ("forward_kl > 0.25", "0.25 > reverse_kl"),
          "play.modes", silent=NO_DENSITY),
    Claim("random-scale", "nguyen2024snoopi",
          "A random guidance scale for teacher and student beats a fixed one.",
          "|m - mu|^2 / d + (v - S)^2 of 24 particles: VSD at 2.25, teacher and student both at 2.25, both random in U(0.5, 4).",
          ("log(fixed) > log(random)", "log(both) > log(random)"),
          "play.random_scale", silent=NOT_GAUSSIAN),
)  # fmt: skip

PIXELS = (
    Claim("pgc-spikes", "pan2023clipping",
          "An encoder's Jacobian makes rare huge pixel gradients, which clipping bounds.",
          "largest over median L-infinity norm of a pixel's gradient, SDS's first step from light grey; through an untrained "
          "encoder, clipped at twice the median, without encoder.",
          ("spikes_encoder > 3 * spikes_pixels", "spikes_encoder > 3 * spikes_clipped"),
          "pixel.clipping", silent=NO_MODE),
    Claim("pgc-colour", "pan2023clipping",
          "Clipping pixel gradients improves colour through an encoder.",
          "root mean square error of the object's mean colour after 120 steps of Adam on the pixels; the same encoder, a single "
          "mode at the truth's encoding.",
          ("colour_raw > colour_clipped",),
          "pixel.clipping", silent=NO_MODE),
    Claim("semantic-binding", "yang2024semanticsds",
          "Prompts of their own bind attributes to objects where one prompt for all leaks.",
          "two objects in each other's colours: pull of each towards its right colour, as a share of its pull, mean over objects.",
          ("semantic_sds > sds",),
          "pixel.binding", silent={"mixture": "has no regions"}),
)  # fmt: skip

CLAIMS = {claim.name: claim for claim in (*NOISE, *PATHS, *PLAY, *PIXELS, *RUNS, *SILENT)}
