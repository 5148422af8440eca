"""What people mean who come from elsewhere: configurations of other tools, and other tools' names for our settings."""

from collections.abc import Iterable
from typing import Any

from dream3d.errors import Mistake

FOREIGN: dict[str, tuple[int, frozenset[str]]] = {  # whose -> how many of these top-level keys give it away
    "threestudio": (2, frozenset({"system_type", "data_type", "data", "trainer", "exp_root_dir", "checkpoint", "tag"})),
    "DreamGaussian": (2, frozenset({"iters", "iters_refine", "lambda_sd", "lambda_zero123", "num_pts", "density_thresh",
                                    "mvdream", "ref_size", "anneal_timestep"})),
    "nerfstudio": (2, frozenset({"method_name", "experiment_name", "pipeline", "optimizers", "viewer", "vis", "machine"})),
    "LucidDreamer": (2, frozenset({"GuidanceParams", "ModelParams", "OptimizationParams", "GenerateCamParams", "PipelineParams"})),
    "Fantasia3D": (2, frozenset({"sdf_init_shape", "dmtet_grid", "add_directional_text", "camera_random_jitter", "train_res"})),
    "ComfyUI": (2, frozenset({"last_node_id", "last_link_id", "nodes", "links"})),
    "Hydra": (1, frozenset({"hydra", "defaults"})),
    "diffusers": (1, frozenset({"_class_name", "_diffusers_version"})),
    "transformers": (1, frozenset({"architectures", "transformers_version"})),
}  # fmt: skip
MODELS = ("diffusers", "transformers")
ALIASES = {  # other tools' names for settings
    "iters": "steps", "iterations": "steps", "max_steps": "steps", "num_steps": "steps", "n_iters": "steps",
    "max_iters": "steps", "epochs": "steps", "guidance_scale": "guidance.scale", "cfg": "guidance.scale",
    "cfg_scale": "guidance.scale", "negative_prompt": "negative", "output": "out", "outdir": "out", "output_dir": "out",
    "workspace": "out", "save_path": "out", "gpu": "device", "cuda": "device", "random_seed": "seed", "model": "prior",
    "batch_size": "cameras.batch", "fov": "cameras.fovy", "num_pts": "renderer.count", "num_points": "renderer.count",
    "resolution": "prior.size", "loss": "guidance", "representation": "renderer", "geometry": "renderer",
    "pretrained_model_name_or_path": "prior.type", "t_range": "guidance.t", "text_prompt": "prompt", "caption": "prompt",
}  # fmt: skip
YAML = {  # what a parser says -> what helps
    "mapping values are not allowed": "put text that has ': ' in it between quotes, or mend the indentation",
    "tab character": "indent with spaces, not with tabs",
    "cannot start any token": "put text that begins with a special character between quotes",
    "another document": "one configuration per file: remove the line ---",
    "undefined alias": "put text that begins with * between quotes",
    "unexpected end": "close the quote or bracket that is still open",
    "expected ',' or": "close the bracket that is still open, or put the missing comma",
    "control characters": "save it as plain UTF-8 text",
    "special characters are not allowed": "save it as plain UTF-8 text",
}
SUFFIXES = {
    ".py": "a .py file is a plug-in: --plugin MODULE; a configuration is YAML, such as: prompt: a red car",
    ".toml": "a configuration is YAML: write [guidance] as guidance: and key = value as key: value",
    ".ini": "a configuration is YAML: write [guidance] as guidance: and key = value as key: value",
}


def refuse_foreign(keys: Iterable[str], values: Any, path: str) -> None:
    """Raise a Mistake where the top-level keys of a file are those of another tool; `values` may hold a prompt to carry over."""
    keys = set(keys)
    for tool, (enough, known) in FOREIGN.items():
        if len(keys & known) < enough:
            continue
        if tool in MODELS:
            raise Mistake(f"this describes a model of {tool}, it is not a configuration of dream3d", where=path,
                          fix='start from a recipe: --config sds-gaussian.yaml prompt="a red car"; prior: names the model')  # fmt: skip
        prompt = _prompt(values) or "a red car"
        raise Mistake(f"this is a configuration of {tool}, not of dream3d", where=path,
                      near=f'--config sds-gaussian.yaml prompt="{prompt}"',
                      fix="start from a bundled recipe and carry the prompt, steps and scale over by hand")  # fmt: skip


def _prompt(values: Any) -> str:
    """The prompt of a foreign configuration, where it lies in one of the usual places."""
    for path in (("prompt",), ("text",), ("system", "prompt_processor", "prompt"), ("GuidanceParams", "text")):
        found = values
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, str) and found.strip() and '"' not in found:
            return found.strip()[:60]
    return ""


def yaml_fix(problem: str, suffix: str) -> str:
    """What to do about a file that is not YAML."""
    common = (fix for words, fix in YAML.items() if words in problem)
    return SUFFIXES.get(suffix) or next(common, "a configuration looks like this: prompt: a red car")


def meant(key: str, sections: dict[str, Iterable[str]]) -> str:
    """Where a setting lies that was written in the wrong section, or as another tool calls it; "" where unknown."""
    places = [f"{section}.{key}" for section, names in sections.items() if key in names]
    return ", ".join(places[:3]) or ALIASES.get(key.casefold(), "")
