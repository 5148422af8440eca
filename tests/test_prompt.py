"""What a view is told: words that blend between two sides, Perp-Neg's rows and weights, words left out. Exact, by hand."""

import math
import sys

import pytest
import torch

from dream3d.cameras import VIEW_WORDS, look_at
from dream3d.debias import debiased, masked_model, without
from dream3d.diffusion import add_noise, guided
from dream3d.errors import Mistake
from dream3d.options import Words
from dream3d.priors.exact import Exact
from dream3d.priors.exact_joint import ExactJoint
from dream3d.priors.mixture import Mixture
from dream3d.priors.personal import Personal
from dream3d.prompt import Prompt, between, perp_weights
from dream3d.toybox.language import Wish
from dream3d.types import Embedding, Render, Step, View

SMALL = {"size": 8, "renders": 6, "others": 12, "instances": 1}


def at(*azimuths, elevation=10.0):
    azimuth = torch.tensor([math.radians(a) for a in azimuths], dtype=torch.float64)
    return look_at(azimuth, torch.full_like(azimuth, math.radians(elevation)), size=8)


class Vectors(Mixture):
    """A text encoder whose rows are vectors: row i is the i-th unit vector."""

    def text(self, prompts):
        self.prompts = prompts
        return Embedding(torch.eye(len(prompts))[:, None])


def weights(azimuth, words, row="text"):
    """How much of each view's text is in a row."""
    prior = Vectors()
    tokens = Prompt(prior, ["a cat"], "ugly", words)(at(azimuth))[row].tokens[0, 0]
    return {said.partition(", ")[2]: round(w, 6) for said, w in zip(prior.prompts, tokens.tolist(), strict=True) if w > 1e-6}


@pytest.mark.parametrize("azimuth, told", [
    (0, {"front view": 1}), (45, {"front view": 0.5, "side view": 0.5}), (-30, {"front view": 0.666667, "side view": 0.333333}),
    (90, {"side view": 1}), (-90, {"side view": 1}), (135, {"side view": 0.5, "back view": 0.5}), (180, {"back view": 1}),
    (-171, {"side view": 0.1, "back view": 0.9}), (360, {"front view": 1}),
])  # fmt: skip
def test_words_blend_between_two_sides(azimuth, told):
    assert weights(azimuth, Words(blend=True)) == pytest.approx(told, abs=1e-6)


def test_overhead_does_not_blend_and_the_words_are_of_the_nearest_side():
    one, other, share = between(at(0, 45, 100, elevation=70), 60.0)
    assert one.tolist() == other.tolist() == [3, 3, 3] and share.tolist() == [0, 0, 0]
    text = Prompt(Vectors(), ["a cat"], "", Words(blend=True))(at(30, 80, 150))
    assert text.words["text"] == ("a cat, front view", "a cat, side view", "a cat, back view")
    assert weights(30, Words()) == {"front view": 1}


def test_regions_and_source_blend_as_the_prompt_does():
    prior = Vectors()
    text = Prompt(prior, ["a cat"], "", Words(blend=True), ["a hat"], "a dog")(at(45))
    for row, first in (("region/0", "a hat"), ("source", "a dog")):
        said = {prior.prompts[i] for i in text[row].tokens[0, 0].nonzero()[:, 0].tolist()}
        assert said == {f"{first}, front view", f"{first}, side view"}


def test_rows_that_blend_are_the_mixture_of_what_they_mean():
    """eps of a blend = sum_i share_i p_i(z) eps_i / sum_i share_i p_i(z), with p_i from autograd: the definition of a mixture."""
    prior = Mixture.of(torch.randn(3, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64), 0.5)
    z, t = torch.randn(2, 1, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64), torch.full((2,), 0.5)
    one, other, share = prior.text(["0"] * 2), prior.text(["1 and 2"] * 2), torch.tensor([0.25, 0.7], dtype=torch.float64)
    whole = prior.eps(z, t, prior.blend(one, other, share))
    logs = [prior.log_density(z, t, row) + w.log() for row, w in ((one, 1 - share), (other, share))]
    rho = torch.softmax(torch.stack(logs), 0)[..., None, None, None]
    torch.testing.assert_close(whole, rho[0] * prior.eps(z, t, one) + rho[1] * prior.eps(z, t, other), rtol=0, atol=1e-9)


def test_the_exact_prior_blends_its_renders():
    """The responsibilities of a blend are proportional to share_i pi_i(k) N_k, those of each row alone given: brute force."""
    prior = Exact(**SMALL)
    rows = [prior.text([f"a red car, {word} view"]) for word in ("front", "side")]
    z, t = 0.3 * torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(2)), torch.tensor([0.93])
    share = torch.tensor([0.3])
    blend = prior.blend(*rows, share)
    joint = prior.responsibilities(z, t, blend)[0]
    alone = [prior.responsibilities(z, t, row)[0] for row in rows]
    masses = torch.stack([joint[rho > 0].sum() for rho in alone])
    assert (masses > 0.01).all()  # both have their part at this level
    torch.testing.assert_close(joint, masses[0] * alone[0] + masses[1] * alone[1], rtol=0, atol=1e-9)
    evens = [prior.responsibilities(z, torch.tensor([0.9999]), prior.blend(*rows, torch.tensor([s])))[0] for s in (0.3, 0.6)]
    odds = [(rho[alone[1] > 0].sum() / rho[alone[0] > 0].sum()).item() for rho in evens]
    assert odds[1] / odds[0] == pytest.approx((0.6 / 0.4) / (0.3 / 0.7), rel=1e-6)  # the prior odds of the two rows
    for whole, row in ((0.0, rows[0]), (1.0, rows[1])):
        torch.testing.assert_close(prior.eps(z, t, prior.blend(*rows, torch.tensor([whole]))), prior.eps(z, t, row))


def test_what_an_empty_prompt_means_is_drawn_once_for_all_prompts_with_the_same_settings():
    made = [Exact(**SMALL, **own) for own in ({}, {}, {"bandwidth": 0.5}, {})]
    for prior, prompt in zip(made, ("a red car", "a blue mug", "a blue mug", "a red car"), strict=True):
        prior.text([prompt])
        prior.prepare()
    one, two, wide, again = (prior.libraries[Wish()] for prior in made)
    assert two.rgb is one.rgb and torch.equal(again.rgb, one.rgb) and torch.equal(again.std, one.std)
    assert torch.equal(wide.rgb, one.rgb) and wide.std.unique().item() == 0.5


@pytest.mark.parametrize("made", [Personal(size=8, renders=4, others=8, instances=2), ExactJoint(size=8, instances=1, others=2)])
def test_every_prior_of_the_box_takes_a_blend(made):
    one, other = made.text(["a red car, front view"]), made.text(["a red car, side view"])
    blend = made.blend(one, other, torch.tensor([0.3]))
    assert made.eps(torch.zeros(1, 3, 8, 8), torch.tensor([0.5]), blend).isfinite().all()


# --- Perp-Neg ---------------------------------------------------------------------------------------------------------------------------


def test_the_weights_of_perp_neg():
    """F(r) = a exp(-r / 2) + c by hand at the four sides, between them and above."""
    w = perp_weights(at(0, 45, 90, -135, 180), 60.0)
    e = [math.exp(-r / 2) for r in (0, 0.5, 1)]
    front = [4 * e[2] - 2.426, 4 * e[1] - 2.426, e[2] + 0.967, e[1] + 0.967, 1.967]
    side = [4 * e[0] - 2.426, 4 * e[1] - 2.426, e[2] - 0.606, e[1] - 0.606, 0.394]
    torch.testing.assert_close(w["front"], -torch.tensor(front, dtype=torch.float64), rtol=0, atol=1e-9)
    torch.testing.assert_close(w["side"], -torch.tensor(side, dtype=torch.float64), rtol=0, atol=1e-9)
    above = perp_weights(at(0, 90, 180, elevation=70), 60.0)
    assert all((v == 0).all() for v in above.values())


def test_nothing_jumps_as_a_camera_walks_round():
    """Text and weights are continuous in azimuth, where view words alone jump: steps of 0.1 degrees."""
    walk = at(*(i / 10 for i in range(-1800, 1800)))
    for value in perp_weights(walk, 60.0).values():
        assert value.diff().abs().max() < 5e-3
    one, other, share = between(walk, 60.0)
    place = torch.zeros(len(walk), 4, dtype=torch.float64)
    rows = torch.arange(len(walk))
    place[rows, one] += 1 - share
    place[rows, other] += share
    assert place.diff(dim=0).abs().max() < 2e-3 and torch.allclose(place.sum(1), torch.ones(len(walk), dtype=torch.float64))


def test_perp_neg_rows_reach_the_guided_noise():
    """The option off is guidance itself; on, it is perp_neg by hand with the prompt's own front and side rows."""
    prior = Mixture.of(torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(0)), 0.6)
    cameras, t = at(20, 100, 170).to("cpu"), torch.full((3,), 0.6)
    blank = torch.zeros(3, 2, 2, 1)
    answers = {}
    for strength in (0.0, 0.5, 1.0):
        text = Prompt(prior, ["0"], "", Words(perp_neg=strength, views=True))(cameras)
        rows = dict(text.rows) | {"text": prior.text(["0"] * 3), "front": prior.text(["1"] * 3), "side": prior.text(["2"] * 3)}
        view = View(blank.movedim(-1, 1), Render(blank.expand(-1, -1, -1, 3), blank, blank), cameras, type(text)(rows, text.perp))
        z = add_noise(prior, view.x, t, Step.make(0, 10, 0).normal(3, 1, 2, 2))
        answers[strength] = guided(prior, z, t, view, 7.5)
        assert set(text.perp) == ({"front", "side"} if strength else set())
    free, cond, front, side = (prior.eps(z, t, prior.text([w] * 3)) for w in ("", "0", "1", "2"))
    p = cond - free
    expected = p.clone()
    for w, n in zip(perp_weights(cameras, 60.0).values(), (front - free, side - free), strict=True):
        along = (n * p).sum((1, 2, 3), keepdim=True) / (p * p).sum((1, 2, 3), keepdim=True)
        expected += w.float().view(-1, 1, 1, 1) * (n - along * p)
    torch.testing.assert_close(answers[1.0], free + 7.5 * expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(answers[0.0], free + 7.5 * p, rtol=0, atol=1e-5)
    torch.testing.assert_close(answers[0.5], (answers[0.0] + answers[1.0]) / 2, rtol=0, atol=1e-4)  # linear in the strength


# --- words left out ---------------------------------------------------------------------------------------------------------------------


def likely(sentence):
    """A face is seen from the front; all else says nothing of the side."""
    return [0.7, 0.1, 0.1, 0.1] if "smiling" in sentence else [0.25] * 4


def test_a_word_that_speaks_against_a_view_is_left_out_of_it():
    told = debiased("a smiling cat", likely)
    assert told == {"front": "a smiling cat", "side": "a cat", "back": "a cat", "overhead": "a cat"}
    assert debiased("smiling", likely)["back"] == "smiling"  # nothing would be left


def test_the_threshold_is_a_share_of_the_mean():
    """Left out below 0.95 of the mean of with and without: p < 0.95 (p + q) / 2, so p / q < 0.95 / 1.05."""
    for ratio, kept in ((0.90, False), (0.91, True)):
        told = debiased("tall cat", lambda s, r=ratio: [0.2 * r, 0.3, 0.3, 0.2] if "tall" in s else [0.2, 0.3, 0.3, 0.2])
        assert ("tall" in told["front"].split()) == kept


def test_left_out_words_by_hand():
    prior = Vectors()
    Prompt(prior, ["a Smiling, happy cat"], "", Words(leave_out={"back": "smiling happy", "side": "dog"}))
    assert prior.prompts[:5] == ["a Smiling, happy cat", "a Smiling, happy cat, front view", "a Smiling, happy cat, side view",
                                 "a cat, back view", "a Smiling, happy cat, overhead view"]  # fmt: skip
    assert without("cat", "cat") == "cat" and len(VIEW_WORDS) == 4


def test_debiasing_says_what_it_lacks(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(Mistake, match="needs the package transformers"):
        masked_model("bert-base-uncased")


def test_a_masked_language_model_is_read_from_a_folder(tmp_path):
    """A tiny BERT that was never trained: probabilities of the four words that sum to one, whatever they are."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed: pip install transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *VIEW_WORDS, "this", "image", "is", "depicting", "a", "view", "of", "cat"]
    (tmp_path / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    transformers.BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=len(words), **sizes)).save_pretrained(tmp_path)
    found = masked_model(str(tmp_path))("This image is depicting a [MASK] view of a cat")
    assert len(found) == 4 and sum(found) == pytest.approx(1) and min(found) > 0
    with pytest.raises(Mistake, match="cannot be read"):
        masked_model(str(tmp_path / "nothing"))
