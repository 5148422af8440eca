"""The claims that take whole runs, and those that nothing here can decide. No torch."""

from dream3d.bench.claims_core import Claim

LOCAL = ("export.mesh=false", "export.frames=24", "keep.preview=0", "keep.checkpoints=1", "steps=200")
ONE, JOINT = (*LOCAL, "prior.size=32"), (*LOCAL, "cameras.resolution=32", "prior.size=32")
COV = "tr Cov of g per number of x over 16 noises"
JANUS = ("a red car", "a yellow duck", "a blue mug", "a brown bear", "an orange plane", "a green robot")
PAIRS = ("a red ball on a blue cube",
         "a yellow duck next to a green tree",
         "a white cat on a red sofa",
         "an orange cone next to a purple cylinder",
         "a green apple on a yellow table",
         "a pink fish next to a brown mug")  # fmt: skip
WHOLE = "guidance={type: sds, t: {start: 0.98, end: 0.5}}"
SDS, VSD = ("sds-gaussian", ONE), ("vsd-gaussian", ONE)
NO_RUN = {"mixture": "whole runs need a prior that knows pictures of objects"}
RUN = "whole runs on Gaussians, 32 pixels, 200 steps, scored by the judge (docs/judge.md): "


def _sds(*more: str) -> tuple[str, tuple[str, ...]]:
    return "sds-gaussian", (*ONE, *more)


RUNS = (
    Claim("3d-saturation", "wang2023prolificdreamer",
          "SDS over-saturates at scale 100; VSD at 7.5 does not.",
          RUN + "chroma over the true object's; over-saturated: above 1.25.",
          ("sds101_saturation > 1.25", "1.25 > vsd_saturation", "sds101_saturation > vsd_saturation"),
          methods={"sds101": _sds("guidance.scale=101"), "vsd": VSD}, silent=NO_RUN),
    Claim("3d-diversity", "wang2023prolificdreamer",
          "VSD's objects are more diverse than SDS's.",
          RUN + "variance between the seeds of a prompt over that between true objects.",
          ("vsd_diversity > sds101_diversity",),
          methods={"sds101": _sds("guidance.scale=101"), "vsd": VSD}, silent=NO_RUN),
    Claim("3d-esd-janus", "wang2024esd",
          "ESD makes fewer Janus faces than VSD.",
          RUN + "fronts beyond one (both also with a missing front, as a distance from one).",
          ("abs(vsd_janus - 1) > abs(esd_janus - 1)",),
          methods={"vsd": VSD, "esd": ("esd-gaussian", ONE)}, silent=NO_RUN, prompts=JANUS),
    Claim("3d-perp-neg-janus", "armandpour2023perpneg",
          "Perp-Neg cuts the number of Janus faces.",
          RUN + "distance of the number of fronts from one.",
          ("abs(sds_janus - 1) > abs(perp_janus - 1)",),
          methods={"sds": SDS, "perp": _sds("text.blend=true", "text.perp_neg=1")}, silent=NO_RUN, prompts=JANUS),
    Claim("3d-multiview-janus", "shi2023mvdream",
          "Guidance of four views together cuts the number of Janus faces.",
          RUN + "distance of the number of fronts from one; the joint prior answers for one view at a time, or for four.",
          ("abs(single_janus - 1) > abs(joint_janus - 1)",),
          methods={"single": ("mvsds-gaussian", (*JOINT, "prior.views=1", "guidance={type: sds, w: x0, t: {start: 0.98, end: 0.5}}")),
                   "joint": ("mvsds-gaussian", JOINT)},
          silent={**NO_RUN, "toybox": "answers for one view at a time"},
          prompts=JANUS),
    Claim("3d-binding", "yang2024semanticsds",
          "Prompts of their own bind attributes to objects where one prompt for all leaks.",
          RUN + "share of views that show the right objects in the right colours.",
          ("semantic_recognised > whole_recognised",),
          methods={"whole": ("semantic_sds-gaussian", (*JOINT, WHOLE, "stages=[]", "renderer.halves=<halves>")),
                   "semantic": ("semantic_sds-gaussian", (*JOINT, "guidance.regions=<first> | <second>", "renderer.halves=<halves>"))},
          silent=NO_RUN,
          prompts=PAIRS),
    Claim("3d-annealing", "guo2023stabledreamer",
          "Annealing the noise levels improves geometry and cuts Janus faces.",
          RUN + "silhouette IoU, and distance of the number of fronts from one.",
          ("sds_iou > random_iou", "abs(random_janus - 1) > abs(sds_janus - 1)"),
          methods={"random": _sds("guidance.t=[0.02, 0.98]"), "sds": SDS}, silent=NO_RUN, prompts=JANUS),
    Claim("3d-dreamtime", "huang2023dreamtime",
          "DreamTime's schedule is better than random t.",
          RUN + "silhouette IoU and share of views recognised.",
          ("dreamtime_iou > random_iou", "dreamtime_recognised > random_recognised"),
          methods={"random": _sds("guidance.t=[0.02, 0.98]"),
                   "dreamtime": _sds("guidance.t={start: 0.98, end: 0.02, shape: dreamtime}")}, silent=NO_RUN),
    Claim("3d-balance", "huang2024placiddreamer",
          "Balanced scores avoid over-saturation.",
          RUN + "distance of chroma over the true object's from one.",
          ("abs(sds15_saturation - 1) > abs(bsd_saturation - 1)",),
          methods={"sds15": _sds("guidance.scale=15"), "bsd": ("bsd-gaussian", ONE)}, silent=NO_RUN),
    Claim("3d-nfsd", "katzir2023nfsd",
          "NFSD at 7.5 gives what SDS needs 100 for, without over-saturation.",
          RUN + "silhouette IoU (at most 0.05 less) and distance of chroma from the true object's.",
          ("nfsd_iou + 0.05 > sds101_iou", "abs(sds101_saturation - 1) > abs(nfsd_saturation - 1)"),
          methods={"sds101": _sds("guidance.scale=101"), "nfsd": ("nfsd-gaussian", ONE)}, silent=NO_RUN),
    Claim("3d-debias-janus", "hong2023debiasing",
          "Clipping the score debiases it: fewer Janus faces.",
          RUN + "distance of the number of fronts from one; the residual clamped at 0.5 to 2 over the run, as for pixel models.",
          ("abs(sds_janus - 1) > abs(clamped_janus - 1)",),
          methods={"sds": SDS, "clamped": _sds("guidance.clamp={start: 0.5, end: 2.0}")}, silent=NO_RUN, prompts=JANUS),
)  # fmt: skip

SILENT = (
    Claim("sjc-out-of-distribution", "wang2022sjc",
          "A denoiser asked about clean renders is unreliable; perturbing and averaging mends it.",
          '-',
          silent={"":
              "an exact score is right everywhere, so nothing is there to mend; a trained network whose true score is known would "
              "be needed"}),
    Claim("sid-fid", "zhou2024sid",
          "A one-step generator distilled without data reaches its teacher's FID.",
          '-',
          silent={"": "there is neither a one-step generator nor a set of pictures that FID is defined on"}),
    Claim("pgsd-texture", "yeh2024texturedreamer",
          "A LoRA student loses the texture that a camera encoder alone keeps (CLIP similarity .83 against .80).",
          '-',
          silent={"": "the personalised prior here knows no token, no normals and no light, and CLIP is not offline"}),
    Claim("dreammat-light", "zhang2024dreammat",
          "A ControlNet that sees the light keeps shading out of the albedo.",
          '-',
          silent={"": "no prior here is told the light"}),
)  # fmt: skip
