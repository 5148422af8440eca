"""Errors that teach: whatever is asked wrongly, exit code 2, at most five short lines that say what, where and what instead; nothing
is left behind. One table; each row goes through the command line in an empty folder, some of them through a real process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dream3d import __version__, build, cli, config, recipe, run
from dream3d.errors import Mistake, choices, nearest, one_line

ROOT = Path(config.__file__).parent.parent
RECIPE = ["--config", "sds-gaussian"]
SMALL = [*RECIPE, "--quiet", "prompt=0", "prior={type: mixture, size: 32}", "renderer.count=60", "cameras.batch=2", "steps=2",
         "keep={preview: 0}", "export={mesh: false, frames: 2, size: 32}"]  # fmt: skip
STORED = config.load("sds-gaussian").text()
LAUGHS = "".join(f"{b}: &{b} [" + ", ".join([f"*{a}"] * 9) + "]\n" for a, b in zip("abcd", "bcde", strict=True))
GUIDANCE = "from dream3d.interfaces import Guidance\nclass Mine(Guidance):\n"


def over(text, *says):
    """One override of a bundled recipe. `says` are parts of the message."""
    return [*RECIPE, "--dry-run", text], {}, says


def file(text, *says, name="c.yaml", more=()):
    """One configuration file."""
    return ["--config", name, "--dry-run", *more], {name: text}, says


def line(words, *says, **files):
    """A command line, with files (__ in a name is /, the suffix .yaml)."""
    return words, {f"{name.replace('__', '/')}.yaml": text for name, text in files.items()}, says


CASES = {
    # --- keys and names
    "section": over("guidnce.scale=3", "unknown key 'guidnce'", "at: command line: guidnce.scale=3", "try: guidance"),
    "plain key": over("stpes=3", "unknown key 'stpes'", "try: steps"),
    "key": over("guidance.scael=1", "unknown key 'guidance.scael'", "at: command line: guidance.scael=1", "try: scale"),
    "key in a file": file("prompt: a car\nguidance:\n  scael: 3\n", "'guidance.scael'", "at: c.yaml:3", "try: scale"),
    "term's key": over("guidance=[{type: sds}, {scael: 3}]", "'guidance.1.scael'", "try: scale"),
    "stage's key": over("stages=[{}, {stpes: 3}]", "'stages.1.stpes'", "try: share, prompt"),
    "stage's nested key": file("prompt: a car\nstages:\n- {}\n- guidance:\n    scael: 3\n", "stages.1: ", "at: c.yaml:5", "try: scale"),
    "stage's steps": over("stages=[{steps: 3}]", "steps is of the whole run", "fix: share: 2"),
    "schedule's key": over("guidance.scale={start: 1, ned: 3}", "no 'ned'; it has start, end", "try: guidance.scale="),
    "key of another section": over("batch=4", "unknown key 'batch'", "try: cameras.batch"),
    "key of another tool": over("max_steps=4", "unknown key 'max_steps'", "try: steps"),
    "nothing close": over("export.glb=true", "unknown key 'export.glb'", "try: mesh, formats, faces, texture"),
    "penalty": over("penalties.opacit=1", "'penalties.opacit'", "try: opacity"),
    "clipped buffer": over("clip={rbg: 1}", "'clip.rbg'", "try: rgb"),
    "through a value": over("steps.x=3", "steps is one value, 800", "fix: set it whole: steps=VALUE"),
    "through a schedule's number": over("guidance.scale.end=3", "one value, 7.5", "fix: set it whole"),
    "term that is not there": over("guidance.0.scale=3", "'guidance.0'", "at: command line: guidance.0.scale=3"),
    "stage that is not there": over("stages.0.share=1", "expected a list of overrides", "fix: stages: [{share: 1"),
    "merge key": file("prompt: a car\n<<: {a: b}\n", "unknown key '<<'", "at: c.yaml:2", "fix: YAML's merge keys", "extends"),
    "guidance": over("guidance.type=sdss", "no guidance 'sdss'", "at: command line: guidance.type=sdss", "try: sds"),
    "prior": over("prior=stable-diffusion", "no prior 'stable-diffusion'", "try: stable_diffusion"),
    "renderer": over("renderer.type=gausians", "no renderer 'gausians'", "try: gaussians"),
    "cameras": over("cameras=orbt", "no cameras 'orbt'", "try: orbit"),
    "background": over("background=rndom", "no background 'rndom'", "try: random"),
    "optimizer": over("optimizer=adamw", "no optimizer 'adamw'", "try: adam"),
    "system": over("system=images", "no system 'images'", "try: distil, text_to_3d"),
    "path as a type": over("prior.type=../exact", "no prior '../exact'", "try: exact"),
    "buffer": over("guidance.sees=nrmal", "no buffer 'nrmal'", "try: normal"),
    "w": over("guidance.w=sdss", "expected sds, uniform, fantasia3d or x0", "but it is 'sdss'", "try: sds"),
    "device": over("device=gpu", "no device 'gpu'", "try: auto, cpu, cuda"),
    # --- types and bounds
    "int from text": over("steps=abc", "steps: expected a whole number, but it is 'abc'", "try: steps=600"),
    "int from 1e3": over("steps=1e3", "expected a whole number", "try: 1000"),
    "int from a fraction": over("seed=1.5", "seed: expected a whole number, but it is 1.5"),
    "int from true": over("steps=true", "steps: expected a number, but it is true"),
    "int from nothing": over("steps=", "but it is empty (null)", "try: steps=600"),
    "int from a list": over("renderer.count=[1]", "renderer.count: expected a whole number", "try: renderer.count="),
    "float from text": over("text.front=wide", "text.front: expected a number, but it is 'wide'", "try: text.front=45.0"),
    "not a number": over("text.front=.nan", "text.front: expected a finite number"),
    "infinite": over("guidance.scale=.inf", "guidance.scale: expected a finite number"),
    "bool": over("export.mesh=maybe", "export.mesh: expected true or false", "try: export.mesh=true"),
    "text": over("name=3", "name: expected text, but it is 3"),
    "tuple": over("cameras.elevation=5", "cameras.elevation: expected a list", "try: cameras.elevation=["),
    "inside a tuple": over("cameras.elevation=[a, 3]", "cameras.elevation.0: expected a number, but it is 'a'"),
    "pair the wrong way round": over("cameras.elevation=[90, 10]", "cameras.elevation: expected [low, high], but it is [90, 10]"),
    "lens the wrong way round": over("cameras.fovy=[60, 20]", "cameras.fovy: expected [low, high]", "try: cameras.fovy=["),
    "elevation over the pole": over("cameras.elevation=[0, 95]", "cameras.elevation.1: expected at most 90"),
    "azimuth": over("cameras.azimuth=[0, 1e9]", "cameras.azimuth.1: expected at most 360"),
    "negative view": over("text.front=-5", "text.front: expected at least 0", "try: text.front=45.0"),
    "view beyond the side": over("text.front=91", "text.front: expected at most 90"),
    "overhead over the pole": over("text.overhead=91", "text.overhead: expected at most 90"),
    "union": over("guidance.sees=[rgb]", "expected text or a section of NAME: VALUE", "try: guidance.sees=rgb"),
    "inside a union": over("guidance.sees={rgb: -1}", "guidance.sees.rgb: expected at least 0", "but it is -1"),
    "schedule": over("guidance.weight=heavy", "expected a number or a schedule {start: .., end: ..}", "try: guidance.weight="),
    "schedule's shape": over("guidance.scale={start: 1, end: 2, shape: round}", "no schedule shape 'round'", "cosine"),
    "schedule's start": over("guidance.scale={end: 2}", "a schedule needs 'start'"),
    "window": over("guidance.t=[0.9, 0.1]", "0 < low <= high < 1", "try: guidance.t="),
    "window beyond 1": over("guidance.t=[0.1, 2]", "0 < low <= high < 1"),
    "windows that cross": over("guidance.t=[{start: 0.5, end: 0.1, begin: 0.9}, {start: 0.6, end: 0.2, until: 0.1}]",
                               "0 < low <= high < 1"),
    "window of three": over("guidance.t=[1, 2, 3]", "expected a number or a schedule"),
    "probabilities": over("guidance.sees={rgb: 0}", "sum to 0", "try: {rgb: 0.5, normal: 0.5}"),
    "number for a section": over("penalties=3", "penalties: expected a section with settings, but it is 3"),
    "term": over("guidance=[3]", "guidance.0: expected a section", "fix: guidance: {type: sds}"),
    "no term": over("guidance=[]", "there is no guidance", "fix: guidance: {type: sds}"),
    "prompt as text section": over("text=a red car", "text: expected a section", 'fix: prompt="a red car"'),
    "stages": over("stages=3", "expected a list of overrides", "fix: stages: [{share: 1"),
    "stage": over("stages=[3]", "stages.0: expected settings", "fix: stages: [{share: 1"),
    "share": over("stages=[{share: 0}]", "stages.0.share: expected a number above 0", "try: stages.0.share=1"),
    "too many stages": over("stages=[" + "{}, " * 65 + "]", "stages: at most 64 of them, but there are 65"),
    "too many terms": over("guidance=[" + "sds, " * 65 + "]", "guidance: at most 64 of them, but there are 65"),
    "countless": over("renderer.count=" + "9" * 30, "renderer.count: expected a smaller number", "try: renderer.count="),
    "countless schedule": over("guidance.scale=" + "9" * 400, "guidance.scale: expected a smaller number"),
    "too few steps": over("stages=[{share: 1}, {share: 100000}]", "too few for 2 stages", "fix: more steps"),
    "no steps": over("steps=0", "steps must be at least 1, but it is 0"),
    "count": over("renderer.count=0", "renderer.count: expected at least 1"),
    "negative seed": over("seed=-1", "seed: expected at least 0, but it is -1", "try: seed=0"),
    "huge seed": over("seed=99999999999999999999", "seed: expected at most 9223372036854775807"),
    "long number": over("steps=" + "9" * 5000, "cannot be read as a value"),
    "clip": over("clip=0", "clip must be above 0", "try: clip=0.1, clip=null"),
    "odd size": over("export.size=17", "export.size: expected a multiple of 2", "try: export.size=256"),
    "keep": over("keep.preview=-1", "keep.preview: expected at least 0"),
    # --- overrides
    "no value": over("=3", "'=3' is not an override", "fix: write section.key=value"),
    "empty key": over("guidance..scale=3", "'guidance..scale=3' is not an override", "fix: write section.key=value"),
    "deep key": over("a." * 50 + "b=3", "is not an override"),
    "open bracket": over("guidance.scale={", "this value is not YAML", "at: command line: guidance.scale={", "fix: quote it"),
    "tagged value": over("seed=!!python/object:os.system x", "cannot be read as a value", "fix: remove the tag"),
    "endless value": over("seed=&a [*a]", "nested too deeply or repeats itself"),
    "bytes": over("name=\udcff", "'name' holds bytes that are not UTF-8", "fix: type it again"),
    "extends as an override": over("extends=x", "unknown key 'extends'", "fix: extends stands in a file", "--config"),
    # --- prompts
    "no prompt": file("steps: 3\n", "there is no prompt", "at: c.yaml", 'fix: prompt="a red car"'),
    "empty prompt": over("prompt=", "there is no prompt", "at: command line: prompt="),
    "blank prompt": over("prompt= \t ", "there is no prompt", "at: command line: prompt="),
    "null prompt": file("prompt:\n", "there is no prompt", "at: c.yaml:1"),
    "one prompt empty": file("prompt: [a car, '']\n", "prompt 2 of 2 is empty", "at: c.yaml:1"),
    "prompt as a section": file("prompt: {a: b}\n", "prompt: expected text"),
    "unknown word": over("prompt=a zebra", "does not know 'zebra'", "at: command line: prompt=a zebra", "try: objects: ball, cube"),
    "unknown word in a file": file("steps: 3\nprompt: a zebra\n", "'zebra'", "at: c.yaml:2"),
    "misspelt object": over("prompt=a red rabit", "does not know 'rabit'", "try: rabit: rabbit"),
    "misspelt colour": over("prompt=a gren car", "'gren'", "try: gren: green"),
    "foreign colour": over("prompt=a crimson car", "'crimson'", "try: crimson: red"),
    "no such adjective": over("prompt=a wooden car", "'wooden'", "try: colours: red, orange", "patterns: striped"),
    "colour alone": over("prompt=red", "no object in 'red'", "try: a red ball"),
    "no object": over("prompt=the photo", "the prompt names no object", "try: ball, cube", 'fix: say what to make'),
    "emoji": over("prompt=🦊", "the prompt names no object: '🦊'", "try: ball"),
    "three objects": over("prompt=a car, a duck and a boat", "one object", "try: "),
    "two colours": over("prompt=a red blue car", "one colour per object, not red and blue"),
    "another language": over("prompt=une voiture rouge", "'une', 'voiture', 'rouge'", "try: objects: ball"),
    "another script": over("prompt=一辆红色的汽车", "does not know", "try: objects: ball"),
    "long prompt": over("prompt=" + "blah " * 400, "does not know 'blah'"),
    "many strange words": over("prompt=" + " ".join(f"xq{i}z" for i in range(9)), "and 5 words more"),
    "view": over("prompt=a red car, back view", "asks for the back view", "fix: leave the view out"),
    "negative": over("negative=a zebra", "'zebra'", "at: command line: negative=a zebra"),
    "term's prompt": file("prompt: a car\nguidance:\n  prompt: a zebra\n", "'zebra'", "at: c.yaml:3"),
    "stage's prompt": file("prompt: a car\nstages:\n- {}\n- prompt: a zebra\n", "'zebra'", "at: c.yaml:4"),
    "empty prompt of a stage": over("stages=[{prompt: ''}]", "stages.0: there is no prompt"),
    # --- files
    "no file": line(["--config", "sds-gausian"], "no configuration 'sds-gausian'", "try: sds-gaussian.yaml", "list configs"),
    "file next door": line(["--config", "mine.yml"], "no configuration 'mine.yml'", "try: mine.yaml", mine="prompt: a car"),
    "folder": line(["--config", "d"], "'d' is a folder", "try: d/mine.yaml", d__mine="prompt: a car"),
    "no name": line(["--config", ""], "the name of the configuration is empty", "try: sds-gaussian.yaml"),
    "prompt for a file": line(["--config", "a red car"], "no configuration 'a red car'", 'prompt="a red car"'),
    "long name": line(["--config", "x" * 500], "no configuration 'xxx"),
    "no name for a file": line(["--config", "x\0y"], "no configuration 'x\\x00y'"),
    "device file": line(["--config", os.devnull], "is not a file that can be read"),
    "list": file("- a\n- b\n", "a mapping of sections", "at: c.yaml:1", "fix: it looks like this: prompt: a red car"),
    "word": file("hello", "a mapping of sections"),
    "unclosed": file("prompt: a red car\nguidance: {type: sds\n", "not YAML", "at: c.yaml:3", "fix: close the bracket"),
    "colon in text": file("prompt: a fox: cub\n", "not YAML", "at: c.yaml:1", "fix: put text that has ': '"),
    "tab": file("prompt: a car\n\tsteps: 3\n", "not YAML", "tab", "at: c.yaml:2", "fix: indent with spaces"),
    "at sign": file("prompt: @car\n", "not YAML", "fix: put text that begins with a special character"),
    "two documents": file("prompt: a\n---\nprompt: b\n", "another document", "fix: one configuration per file"),
    "twice": file("prompt: a car\nsteps: 3\nsteps: 4\n", "'steps' cannot stand here", "at: c.yaml:3", "fix: keep one; the first: c.yaml:2"),
    "twice below": file("prompt: a car\nguidance: {scale: 3, scale: 3}\n", "'scale' cannot stand here", "at: c.yaml:2"),
    "dots": file("prompt: a car\nguidance.scale: 3\n", "'guidance.scale' cannot stand here", "fix: guidance: {scale: ...}"),
    "key of keys": file("prompt: a car\n? [a, b]\n: 3\n", "a key must be a plain word", "at: c.yaml:2"),
    "tag": file("prompt: a car\nseed: !!python/object/apply:os.system ['true']\n", "seed", "at: c.yaml:2"),
    "tagged word": file("prompt: a car\nseed: !!python/name:os.system ''\n", "cannot be read as a value", "fix: remove the tag"),
    "date": file("prompt: a car\nseed: 2020-01-01\n", "'2020-01-01' cannot be read as a value", "fix: put it between quotes"),
    "laughs": file("prompt: a car\na: &a [x, x, x, x, x, x, x, x, x]\n" + LAUGHS, "repeats itself"),
    "self": file("prompt: a car\na: &a [*a]\n", "repeats itself", "at: c.yaml:2"),
    "deep": file("prompt: a car\na: " + "[" * 3000 + "]" * 3000, "deep"),
    "rather deep": file("prompt: a car\na: " + "[" * 40 + "]" * 40, "too deeply", "fix: at most 32 levels"),
    "huge": file("prompt: a car\n#" + "x" * (1 << 20), "larger than 1 MiB"),
    "binary": file(b"prompt: a car\n\x00\x01\x02", "not YAML", "fix: save it as plain UTF-8 text"),
    "picture": file(b"\x89PNG\r\n\x1a\n\x00\xff\xfe", "not UTF-8 text", "at: c.yaml:1", "fix: save it as UTF-8"),
    "UTF-16": file("prompt: a car\n".encode("utf-16"), "not UTF-8 text"),
    "extends nothing": file("extends: sds-gausian\n", "no configuration 'sds-gausian'", "at: c.yaml:1", "try: sds-gaussian.yaml"),
    "extends a list": file("prompt: a car\nextends: [a]\n", "extends: expected the name of one recipe", "at: c.yaml:2"),
    "extends itself": file("extends: c.yaml\n", "one level only", "at: c.yaml:1"),
    "mistake below": line(["--config", "top.yaml"], "'stpes'", "at: base.yaml:2",
                          top="extends: base.yaml\n", base="prompt: a car\nstpes: 3\n"),
    "dangling": file("prompt: a car\nsteps: ${cameras.batsh}\ncameras: {batch: 3}\n",
                     "not there: ${cameras.batsh}", "at: c.yaml:2", "try: cameras.batch"),
    "reference to itself": file("prompt: a car\nsteps: ${steps}\n", "refers to itself", "at: c.yaml:2"),
    "reference in a list": file("prompt: a car\nstages: [{guidance: {scale: '${no}'}}]\n", "stages.0.guidance.scale refers to"),
    "reference in text": file("prompt: a car\nname: x${seed}\n", "a reference is a whole value", "at: c.yaml:2"),
    "environment": over("steps=${oc.env:HOME}", "a reference is a whole value", "fix: no text around it, nothing of the environment"),
    # --- files of other tools
    "threestudio": file("name: dreamfusion\nsystem_type: dreamfusion-system\nsystem:\n  prompt_processor_type: x\n  prompt_processor:\n"
                        "    prompt: a hamburger\ntrainer: {max_steps: 10000}\n", "configuration of threestudio",
                        'try: --config sds-gaussian.yaml prompt="a hamburger"', "fix: start from a bundled recipe"),
    "DreamGaussian": file("prompt: a red car\niters: 500\nlambda_sd: 1\nnum_pts: 1000\n", "configuration of DreamGaussian"),
    "nerfstudio": file("!!python/object:nerfstudio.engine.trainer.TrainerConfig\n_target: !!python/name:x ''\nmethod_name: splatfacto\n"
                       "pipeline: !!python/object:a {}\n", "configuration of nerfstudio", "at: c.yaml:1"),
    "LucidDreamer": file("GuidanceParams: {text: a car}\nOptimizationParams: {iterations: 5000}\n", "of LucidDreamer", 'prompt="a car"'),
    "diffusers": file('{"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.30"}', "a model of diffusers",
                      name="model_index.json"),
    "JSON": file('{"prompt": "a car", "stpes": 3}', "'stpes'", "try: steps", name="c.json"),
    "TOML": file("[project]\nname = 'x'\n", "not YAML", "fix: a configuration is YAML: write [guidance]", name="c.toml"),
    "Python": file("import dream3d\n", "a mapping", "fix: a .py file is a plug-in: --plugin", name="c.py"),
    # --- folders
    "out with NUL": over("out=a\0b", "cannot hold the character NUL"),
    "out of nobody": line([*RECIPE, "out=~nobody-of-this-name/x"], "no user whose home is", "at: command line: out=~nobody"),
    "out is a file": line([*RECIPE, "out=f.yaml"], "a file has this name", "fix: give out=", f="x"),
    "out in a file": line([*RECIPE, "out=f.yaml/a/b"], "the run folder cannot be made", f="x"),
    "out with something": line([*RECIPE, "out=d"], "not empty and not a run (it holds 'mine.yaml')", "try: out=d-2", d__mine="x"),
    "out of a damaged run": line([*RECIPE, "out=d"], "'stpes'", "at: d/config.yaml:1", d__config="stpes: 3"),
    "long out": line([*RECIPE, "out=a/b/" + "x" * 300], "cannot be made: File name too long"),
    "out where nothing can be": line([*RECIPE, "out=/proc/a/b"], "the run folder cannot be made", "at: /proc/a/b"),
    # --- commands
    "no configuration": line(["prompt=a car"], "no configuration is named", "fix: --config sds-gaussian.yaml"),
    "setting as an option": line([*RECIPE, "--prompt", "a duck"], "--prompt", 'written without dashes: prompt="a red car"'),
    "setting with =": line([*RECIPE, "--seed=3"], "nothing is known about --seed=3", "written without dashes: seed=3"),
    "another tool's option": line([*RECIPE, "--guidance-scale", "3"], "written without dashes: guidance.scale=VALUE"),
    "spaces around =": line([*RECIPE, "prompt", "=", "a duck"], "'prompt' has no value", 'fix: prompt="a red car" (no spaces'),
    "prompt without quotes": line([*RECIPE, "prompt=a", "red", "car", "seed=3"], "needs quotes", 'fix: prompt="a red car"'),
    "prompt alone": line(["a red car"], "'a red car' is neither a command nor key=value", 'prompt="a red car"'),
    "command": line(["resme", "x"], "no command 'resme'", "try: resume"),
    "option": line(["--cofnig", "x"], "--cofnig", "try: --config"),
    "option's value": line(["--config"], "--config needs a value"),
    "no run": line(["resume", "nothing"], "not a run folder", "at: nothing"),
    "run with NUL": line(["resume", "x\0"], "not a run folder"),
    "run missing": line(["resume"], "missing: run"),
    "newer run": (["resume", "d"], {"d/config.yaml": STORED + "future: 3\n", "d/status.json": '{"version": "9.9"}'},
                  ["unknown key 'future'", f"fix: dream3d 9.9 wrote this run, this is {__version__}"]),
    "run of a plug-in": line(["resume", "d"], "no guidance 'mine'", "at: d/config.yaml:", "fix: a class of your own comes by --plugin",
                             d__config=STORED.replace("type: sds", "type: mine")),
    "changed run": (["resume", "d"], {"d/config.yaml": STORED, "d/status.json": json.dumps({"config": "0"})},
                    ["config.yaml is not the one this run began with", "fix: put it back"]),
    "torn run": line(["export", "d"], "not YAML", "at: d/config.yaml:", d__config="prompt: [a"),
    "export's setting": line(["export", "d", "fcaes=3"], "'fcaes'", "try: faces", d__config=STORED),
    "export's value": line(["export", "d", "faces=x"], "error: faces: expected a whole number", d__config=STORED),
    # --- plug-ins
    "no plug-in": (["--plugin", "mien", *RECIPE], {"mine.py": "x = 1"}, ["no module 'mien'", "at: --plugin", "try: mine"]),
    "plug-in by path": line(["--plugin", "guidance/mine.py", *RECIPE], "is a path", "try: --plugin guidance.mine"),
    "plug-in of nothing": (["--plugin", "pa", *RECIPE], {"pa.py": "x = 1"}, ["exactly one Guidance", "but has 0"]),
    "plug-in of two": (["--plugin", "pb", *RECIPE], {"pb.py": "class A(Guidance): 0\nclass B(Prior): 0"}, ["but has 2"]),
    "torn plug-in": (["--plugin", "pc", *RECIPE], {"pc.py": "class A(Guidance:"}, ["'pc' cannot be read: ", "at: --plugin"]),
    "plug-in hides a built-in": (["--plugin", "sds", *RECIPE], {"sds.py": GUIDANCE + "    x = 1"},
                                 ["a guidance 'sds' already", "try: my_sds"]),
    "setting without a type": (["--plugin", "pd", *RECIPE, "guidance=pd"],
                               {"pd.py": GUIDANCE + "    def __init__(self, prior, *, x=3): 0"}, ["every setting needs one", "pd.py"]),
    "needs what the prior lacks": ([*RECIPE, "guidance=pgsd"], {},
                                   ["'pgsd' needs original", "'exact' offers student", "try: prior=personal"]),
    "needs what the scene lacks": ([*RECIPE, "guidance={type: semantic_sds, regions: a red ball | a blue cube}"], {},
                                   ["needs labels", "renderer=gaussians (halves)"]),
    "needs several views": ([*RECIPE, "guidance=mvsds"], {}, ["needs views", "prior=exact_joint (views > 1)"]),
    "a later stage needs": ([*RECIPE, "stages=[{}, {guidance: anpg}]"], {},
                            ["stage 2: guidance 'anpg' needs depth", "at: command line: stages"]),
    "a term of a list needs": ([*RECIPE, "guidance=[{type: sds}, {type: anpg}]"], {}, ["guidance 'anpg' needs depth"]),
    "a needy dry run": ([*RECIPE, "guidance=anpg", "--dry-run"], {}, ["needs depth", "buffers == 'rgb+depth'"]),
    "views apart": ([*RECIPE, "prior={type: exact_joint, views: 4}"], {}, ["4 views together", "orbit cameras come 1", "cameras.views=4"]),
    "views that do not divide": ([*RECIPE, "prior={type: exact_joint, views: 4}", "cameras={type: orthogonal, views: 3, batch: 6}"], {},
                                 ["come 3 at a time", "fix: cameras.views=4"]),
    "no place for Perp-Neg": ([*RECIPE, "guidance=pgsd", "prior=personal", "text.perp_neg=1"], {}, ["no place for Perp-Neg"]),
    "Perp-Neg without views": ([*RECIPE, "text={perp_neg: 1, views: false}"], {}, ["text.views is false", "fix: text.views=true"]),
    "blend without views": ([*RECIPE, "text={blend: true, views: false}"], {}, ["text.views is false"]),
    "leave out of no view": ([*RECIPE, "text.leave_out={behind: face}"], {}, ["text.leave_out.behind", "try: front, side, back"]),
    "setting of a strange type": (["--plugin", "pe", *RECIPE, "guidance=pe"],
                                  {"pe.py": GUIDANCE + "    def __init__(self, prior, *, x: Foo = 3): 0"}, ["line 3: 'Foo'", "pe.py"]),
}  # fmt: skip

LATE = {  # what only torch can tell
    "no CUDA": ([*SMALL, "device=cuda", "out=a/b"], {}, ["device 'cuda' cannot be used", "fix: device=cpu"]),
    "no such buffer": ([*SMALL, "guidance.sees=features"], {}, ["draws no 'features'", "try: rgb, alpha, depth, normal"]),
    "a role nobody has": ([*SMALL, "guidance.views=nobody", "cameras={type: reference, batch: 1}"], {},
                          ["no view has the role 'nobody'", "at: guidance.views", "try: orbit, photo"]),
    "a mix that cannot be": ([*SMALL, "guidance.sees={rgb: 100, rgb+depth: 1}"], {}, ["has 4 channels, but its prior knows 3"]),
    "a mix without four views": ([*SMALL, "guidance.sees={rgb: 100, grid: 1}"], {}, ["made of four views"]),
    "a scorer of pictures with masks": ([*SMALL, "guidance={type: reward, sees: rgb+alpha}"], {},
                                       ["has 4 channels", "fix: guidance.sees=rgb"]),
    "a target with depth": ([*SMALL, "guidance={type: target, regress: image, sees: rgb+depth}"], {},
                            ["has 4 channels, but its prior knows 3"]),
    "an interval upwards": ([*SMALL, "guidance={type: tsm, delta_t: {start: 0.1, end: -0.5}}"], {}, ["delta_t is -0.5", "fix: 0 or above"]),
    "a limit below nothing": ([*SMALL, "guidance.clamp=-1"], {}, ["a limit cannot be negative", "try: guidance.clamp=2"]),
    "a grid of clips": ([*SMALL, "guidance.sees=grid", "cameras.frames=2"], {}, ["one moment of each", "fix: cameras.frames=1"]),
    "three of four views": ([*SMALL, "guidance.sees=grid", "out=a/b/c"], {}, ["made of four views", "fix: cameras.batch=4"]),
    "capability": ([*SMALL, "--plugin", "pf", "guidance={type: pf}"],
                   {"pf.py": GUIDANCE + "    needs = frozenset({'cameras'})\n    def gradient(self, view, now): 0"},
                   ["guidance 'pf' needs cameras", "offers"]),
    "raising plug-in": ([*SMALL, "--plugin", "pg", "guidance={type: pg}"], {"pg.py": "raise RuntimeError('boo')\n" + GUIDANCE + " x = 1"},
                        ["pg cannot be imported: RuntimeError: boo", "pg.py"]),
    "abstract plug-in": ([*SMALL, "--plugin", "ph", "guidance={type: ph}"], {"ph.py": GUIDANCE + "    x = 1"},
                         ["ph does not define gradient", "interfaces.py"]),
    "no component": ([*SMALL, "prompt=a car"], {}, ["no component 'a car'", "by number"]),
    "no checkpoint": (["export", "d"], {"d/config.yaml": STORED}, ["no checkpoint yet", "fix: python launch.py resume d"]),
    "damaged checkpoint": (["export", "d"], {"d/config.yaml": STORED, "d/checkpoints/step_0000005/state.json": "{"},
                           ["no checkpoint yet"]),
}  # fmt: skip
REAL = ["key in a file", "unknown word", "bytes", "binary", "threestudio", "out is a file", "long out", "prompt alone", "no run",
        "torn plug-in"]  # fmt: skip
HEAVY = ("torch", "numba", "dream3d.api", "dream3d.run", "dream3d.types", "dream3d.interfaces")


def tree(folder: Path) -> dict[str, bytes | None]:
    """All that is in a folder, with its content."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def lay(files: dict, folder: Path) -> dict:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return tree(folder)


def teaches(code: int, out: str, err: str, says=()) -> None:
    """What every message has to be."""
    lines = err.rstrip("\n").split("\n")
    assert code == 2 and out == "", (code, out)
    assert lines[0].startswith("error: ") and 2 <= len(lines) <= 5 and max(map(len, lines)) <= 200, err
    assert all(text.isprintable() for text in lines) and "Traceback" not in err and "bug" not in err, err
    labels = [text.split(":")[0].strip() for text in lines[1:]]
    assert labels == [label for label in ("at", "try", "fix") if label in labels] and {"try", "fix"} & set(labels), err
    for part in says:
        assert part in err, err


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """An empty current folder, and no trace of plug-ins afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(build, "plugins", {})
    monkeypatch.setattr(sys, "path_importer_cache", {})
    return tmp_path


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_teaches_and_leaves_nothing(name, empty, monkeypatch, capsys):
    words, files, says = CASES[name]
    before = lay(files, empty)
    for module in HEAVY:
        monkeypatch.setitem(sys.modules, module, None)  # importing it would be a bug of ours
    code = cli.main(words)
    teaches(code, *capsys.readouterr(), says)
    assert tree(empty) == before


@pytest.mark.parametrize("name", LATE)
def test_what_only_torch_can_tell_leaves_nothing_either(name, empty, capsys):
    if name == "no CUDA" and torch.cuda.is_available():
        pytest.skip("there is CUDA here")
    words, files, says = LATE[name]
    before = lay(files, empty)
    code = cli.main(words)
    out, err = capsys.readouterr()
    kept = [text for text in err.splitlines(keepends=True) if not text.startswith("checkpoint step_")]
    teaches(code, out, "".join(kept), says)
    assert tree(empty) == before


def test_the_same_through_the_real_process(tmp_path):
    running = {}
    for name in REAL:
        words, files, _ = CASES[name]
        (tmp_path / name).mkdir()
        lay(files, tmp_path / name)
        words = [word.encode("utf-8", "surrogateescape") for word in words]
        running[name] = subprocess.Popen([sys.executable, ROOT / "launch.py", *words], cwd=tmp_path / name,
                                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    for name, process in running.items():
        out, err = (stream.decode() for stream in process.communicate(timeout=60))
        teaches(process.returncode, out, err, CASES[name][2])
        assert tree(tmp_path / name).keys() == {part for file in CASES[name][1] for part in _parts(file)}


def _parts(file: str) -> list[str]:
    return [file, *(str(p) for p in Path(file).parents if str(p) != ".")]


def test_files_and_folders_without_permission(empty, monkeypatch, capsys):
    """Told by the system's refusal: whoever runs the tests may be allowed everything."""
    lay({"c.yaml": "prompt: a car"}, empty)

    def refused(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(recipe, "open", refused, raising=False)
        code = cli.main(["--config", "c.yaml"])
        teaches(code, *capsys.readouterr(), ["cannot be read: Permission denied", "at: c.yaml", "fix: make it readable"])
    monkeypatch.setattr(Path, "mkdir", refused)
    code = cli.main(["--config", "c.yaml", "out=there/run"])
    teaches(code, *capsys.readouterr(), ["cannot be made: Permission denied", "at: there/run", "fix: give out=FOLDER where you may write"])
    assert tree(empty).keys() == {"c.yaml"}


def test_a_folder_that_was_there_stays(empty, capsys):
    """Only what this process has made is taken back: not the folder that was given, nor what lies above."""
    (empty / "there").mkdir()
    for out in ("there", "there/below/run"):
        assert cli.main([*SMALL, "guidance.sees=features", f"out={out}"]) == 2
    assert tree(empty) == {"there": None} and "draws no 'features'" in capsys.readouterr().err


def test_a_run_that_had_begun_is_kept_whatever_stops_it(empty, monkeypatch, capsys):
    """A mistake that shows while continuing takes nothing back."""
    monkeypatch.setattr(run.Run, "_export", lambda self, scene: (_ for _ in ()).throw(Mistake("no")))
    assert cli.main([*SMALL, "out=run"]) == 2 and json.loads(Path("run/status.json").read_text())["state"] == "failed"
    kept = {name for name in tree(empty) if "checkpoints" in name}
    monkeypatch.setattr(run.Run, "_resume", lambda self: (_ for _ in ()).throw(Mistake("no")))
    assert cli.main([*SMALL, "out=run"]) == 2 and "error: no" in capsys.readouterr().err
    assert kept and kept <= tree(empty).keys() and json.loads(Path("run/status.json").read_text())["state"] == "failed"


SETTINGS = {  # from Python
    "key": ({"guidance.scael": 3}, "unknown key 'guidance.scael'", "at: argument 'guidance.scael'", "try: scale"),
    "number for a key": ({3: 4}, "unknown key '3'", "at: argument 3"),
    "number for a key within": ({"renderer": {1: 2}}, "unknown key 'renderer.1'", "at: argument 'renderer'"),
    "number for a key in a stage": ({"stages": [{"guidance": {1: 2}}]}, "stages.0: unknown key 'guidance.1'"),
    "surrogate": ({"prompt": "a \ud800"}, "bytes that are not UTF-8"),
    "no prompt": ({"prompt": None}, "prompt: expected text, but it is empty (null)", "at: argument 'prompt'"),
    "object": ({"steps": object()}, "steps: expected a whole number", "try: steps=600"),
    "not a number": ({"cameras.elevation": (0, float("nan"))}, "cameras.elevation.1: expected a finite number"),
    "true": ({"export": {"faces": True}}, "export.faces: expected"),
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_mistakes_from_python(name):
    settings, *says = SETTINGS[name]
    with pytest.raises(Mistake) as caught:
        config.load("sds-gaussian", settings={"prompt": "a car", **settings})
    assert all(part in str(caught.value) for part in says), caught.value


def test_windows_lines_and_byte_order_marks_are_fine(tmp_path):
    for text in ("\ufeffprompt: a car\nsteps: 3\n", "prompt: a car\r\nsteps: 3\r\n"):
        (tmp_path / "c.yaml").write_bytes(text.encode())
        found = config.load(str(tmp_path / "c.yaml")).values
        assert (found["prompt"], found["steps"]) == ("a car", 3)


def test_a_message_is_short_whatever_was_said():
    text = str(Mistake("a\nb\x1b[31m" + "x" * 10_000, where="\udcff" * 500, near="", fix="y"))
    assert text.startswith("a\\nb\\x1b[31mxxx") and len(text.splitlines()) == 3 and max(map(len, text.splitlines())) < 200
    assert one_line("x" * 50, 30) == "x" * 20 + " ... " + "x" * 5


def test_the_nearest_names():
    assert nearest("scael", ["scale", "sees", "t"]) == ["scale"] and nearest("SDS", ["sds"]) == ["sds"]
    assert nearest("promt", ["prompt", "prior", "export"]) == ["prompt"] and nearest("zebra", ["car", "duck"]) == []
    assert choices("zebra", ["duck", "car"]) == "duck, car"
    assert choices("zebra", [f"name{i}" for i in range(99)], width=30) == "name0, name1, name2, ..."


def test_a_missing_package_leaves_nothing_behind(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "dream3d.api", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert cli.main(["--config", "sds-gaussian", "prompt=a red car"]) == 2
    assert "package is missing" in capsys.readouterr().err and not list(tmp_path.iterdir())
