"""How like a picture is to words, by a model of one's own on this disk: CLIP (Radford et al. 2021, arXiv:2103.00020), or what was made
of it: PickScore (Kirstain et al. 2023, arXiv:2305.01569), HPS v2 (Wu et al. 2023, arXiv:2306.09341) in transformers' layout."""

import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor

from dream3d.errors import Mistake

TOGETHER = 16  # pictures, or texts, at once


class Likeness:
    """`scale` times the cosine is the model's score: 100 for CLIP (its CLIP score), what was learnt for the others; `sharp`: the learnt
    one, under which words compete for a picture. Raises Mistake for a folder that holds no such model."""

    def __init__(self, folder: Path, *, learnt: bool = False):
        try:
            from transformers import AutoTokenizer, CLIPConfig, CLIPModel
        except ModuleNotFoundError:
            raise Mistake("models of pictures and words need transformers", fix='pip install "dream3d[diffusion]"') from None
        folder = Path(folder)
        if not (folder / "config.json").is_file():
            raise Mistake("there is no model here", where=str(folder), fix="a folder of transformers with config.json and safetensors")
        try:
            config = CLIPConfig.from_pretrained(folder, local_files_only=True)
            self.model = CLIPModel.from_pretrained(folder, config=config, local_files_only=True, use_safetensors=True).eval()
            self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise Mistake(f"this is no CLIP model: {' '.join(str(error).split())[:160]}", where=str(folder),
                          fix="CLIP, PickScore or HPS v2 as transformers writes them, with its tokenizer") from None  # fmt: skip
        self.known: dict[str, Tensor] = {}  # of words that were asked for: a library's prompts are compared with every run of it
        self.sharp = self.model.logit_scale.exp().item()
        self.scale = self.sharp if learnt else 100.0
        told = sorted((path.name, path.stat().st_size) for path in folder.iterdir() if path.is_file())
        self.digest = hashlib.sha256(repr(told).encode() + (folder / "config.json").read_bytes()).hexdigest()[:12]

    @torch.no_grad()
    def pictures(self, rgb: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Unit vectors of pictures in [0, 1]."""
        side = self.model.config.vision_config.image_size
        fine = F.interpolate(rgb, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)))
        found = [_vectors(self.model.get_image_features(part)) for part in ((fine - mean) / std).split(TOGETHER)]
        return F.normalize(torch.cat(found), dim=-1)

    @torch.no_grad()
    def words(self, texts: list[str]) -> Float[Tensor, "B D"]:
        """Unit vectors of texts."""
        fresh = [text for text in dict.fromkeys(texts) if text not in self.known]
        for at in range(0, len(fresh), TOGETHER):
            part = fresh[at : at + TOGETHER]
            self.known |= zip(part, self._words(part), strict=True)
        return torch.stack([self.known[text] for text in texts])

    def _words(self, texts: list[str]) -> Float[Tensor, "B D"]:
        most = min(self.model.config.text_config.max_position_embeddings, 77)
        told = self.tokenizer(texts, padding=True, truncation=True, max_length=most, return_tensors="pt")
        return F.normalize(_vectors(self.model.get_text_features(told["input_ids"], told["attention_mask"])), dim=-1)


def _vectors(found) -> Float[Tensor, "B D"]:
    """What transformers returns: vectors, or since version 5 an output that holds them."""
    return found if isinstance(found, Tensor) else found.pooler_output
