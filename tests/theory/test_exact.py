"""The exact prior against a brute-force mixture in double precision, and by what sampling from it gives."""

import math

import pytest
import torch

from dream3d import build
from dream3d.cameras import VIEW_WORDS, look_at, ring
from dream3d.diffusion import per_view, predict
from dream3d.errors import Mistake
from dream3d.priors import _components, _renders
from dream3d.priors.exact import Exact
from dream3d.toybox import world
from dream3d.toybox.language import Thing, Wish
from dream3d.toybox.render import render

CAR = Wish((Thing("car", "red"),))
ANY = Wish()


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tiny(**more):
    prior = Exact(**{"size": 12, "instances": 2, "renders": 6, "others": 10} | more)
    prior.text(["a red car"])
    prior.prepare()
    return prior


def composites(parts, colour):
    """Every picture and tangent over a colour, as x, double precision: (K m 3hw)."""
    m = parts.gram.shape[-1]
    image = parts.rgb.double().unflatten(1, (3, -1)) + parts.gap.double()[:, None] * colour.double()[:, None]
    x = 2 * image.flatten(1).unflatten(0, (-1, m))
    x[:, 0] -= 1
    return x


def brute_force(prior, z, t, colour, weights):
    """-sigma times the autograd score of the mixture with explicit covariance matrices, one view."""
    alpha, sigma = (v.double()[0] for v in prior.alpha_sigma(t[None]))
    z = z.double().flatten().requires_grad_()
    terms = []
    for wish, weight in weights.items():
        parts = prior.libraries[wish]
        for k, x in enumerate(composites(parts, colour)):
            if weight[k] > 0:
                data = parts.std[k].double() ** 2 * torch.eye(len(z), dtype=torch.float64) + x[1:].T @ x[1:]
                covariance = alpha**2 * data + sigma**2 * torch.eye(len(z), dtype=torch.float64)
                terms.append(
                    weight[k].log() + torch.distributions.MultivariateNormal(alpha * x[0], covariance).log_prob(z)
                )
    return -sigma * torch.autograd.grad(torch.logsumexp(torch.stack(terms), 0), z)[0]


@pytest.mark.parametrize("tangents", [0, 1, 4])
@pytest.mark.parametrize("camera", [None, 40.0])
def test_equals_brute_force(kit, tangents, camera):
    """Mixed rows, a background per view, noise levels from 0.02 to 0.98, kernels over cameras, tangents by explicit
    covariance."""
    prior = tiny(size=8, tangents=tangents, camera=camera, renders=4, others=5)
    prompts = ["a red car", "a red car, side view", "", "a blue cube", ", back view"]
    text = prior.text(prompts)
    prior.prepare()
    t = torch.tensor([0.02, 0.15, 0.5, 0.8, 0.98])
    colour = torch.tensor([[1.0, 1, 1], [0, 0, 0], [0.2, 0.7, 0.4], [1, 0, 0], [0.5, 0.5, 0.5]])
    cameras = kit.seen_from(5, 8)
    start = torch.stack(
        [composites(prior.libraries[CAR], c)[3 * i, 0].view(3, 8, 8) for i, c in enumerate(colour)]
    ).float()
    alpha, sigma = (per_view(v, start) for v in prior.alpha_sigma(t))
    z = alpha * (start + 0.1 * draw(5, 3, 8, 8)) + sigma * draw(5, 3, 8, 8, seed=1)
    view = kit.view_of(prior, z, cameras, colour)
    eps = prior.eps(z, t, text, cameras, view.render)
    assert eps.dtype == torch.float32
    for i, (things, word) in enumerate(
        [(CAR, None), (CAR, "side"), (None, None), (Wish((Thing("cube", "blue"),)), None), (None, "back")]
    ):
        weights = {}
        for wish in prior.libraries if things is None else [things]:
            parts = prior.libraries[wish]
            weight = parts.weight.double() * (1 if word is None else (parts.word == VIEW_WORDS.index(word)))
            if camera is not None:
                cosine = (
                    parts.outward.double() @ torch.nn.functional.normalize(cameras.centre[i].double(), dim=0)
                ).clamp(-1, 1)
                weight = weight * torch.exp(-0.5 * (torch.rad2deg(cosine.acos()) / camera) ** 2)
            weights[wish] = weight
        expected = brute_force(prior, z[i], t[i], colour[i], weights)
        error = (eps[i].flatten() - expected).abs().max() / expected.abs().max().clamp(min=1)
        assert error < 2e-5, (prompts[i], error)


def test_single_precision_is_enough_at_full_size():
    """Float32 products, float64 distances: against double precision throughout, in 12 288 dimensions."""
    prior = Exact(renders=60, others=60, bandwidth=0.08)
    text = prior.text(["a red car", "", "a red car", ""])
    prior.prepare()
    x, weight, t = [], [], torch.tensor([0.0005, 0.05, 0.5, 0.98])
    for parts in prior.libraries.values():
        x.append(composites(parts, torch.ones(3))[:, 0])
        weight.append(parts.weight.double())
    alpha, sigma = (v[:, None, None, None] for v in prior.alpha_sigma(t))
    middle = (x[1][[10, 20, 30, 40]] + x[1][[11, 21, 31, 41]]) / 2  # ties: where an error in a distance would show
    z = (alpha * middle.view(4, 3, 64, 64) + sigma * draw(4, 3, 64, 64)).float()
    eps = prior.eps(z, t, text)
    for i, row in enumerate(["car", "", "car", ""]):
        data = x[1] if row else torch.cat(x)
        a, s = alpha[i].double().item(), sigma[i].double().item()
        variance = a**2 * float(prior.libraries[CAR].std[0]) ** 2 + s**2
        off = z[i].double().flatten() - a * data
        rho = torch.softmax((weight[1] if row else torch.cat(weight)).log() - off.square().sum(1) / (2 * variance), 0)
        expected = s * (rho @ off) / variance
        assert (eps[i].flatten() - expected).abs().max() < 1e-3, row


def test_unconditional_contains_conditional():
    """rho of "" restricted to the prompt's renders is the prompt's own; a view word restricts further."""
    prior = tiny()
    z, t = draw(3, 3, 12, 12), torch.tensor([0.7, 0.97, 0.97])
    everything, car, side = (
        prior.responsibilities(z, t, prior.text([p] * 3)) for p in ("", "a red car", "a red car, side view")
    )
    first = len(prior.libraries[ANY])
    inside = everything[:, first:] / everything[:, first:].sum(1, keepdim=True)
    assert car[:, :first].eq(0).all() and torch.allclose(inside, car[:, first:], atol=1e-6)
    seen = prior.libraries[CAR].word == VIEW_WORDS.index("side")
    assert side[:, first:][:, ~seen].eq(0).all()
    assert torch.allclose(
        side[:, first:][:, seen], car[:, first:][:, seen] / car[:, first:][:, seen].sum(1, keepdim=True), atol=1e-6
    )


def test_bare_prompt_weighs_view_words_by_their_area():
    prior = tiny(renders=20)
    parts = prior.libraries[CAR]
    assert torch.bincount(parts.word).tolist() == [20] * 4
    share = torch.stack([parts.weight[parts.word == i].sum() for i in range(4)]) / parts.weight.sum()
    low, high, top = (math.sin(math.radians(e)) for e in (-10, 75, 60))
    below = (top - low) / (high - low)
    assert torch.allclose(share, torch.tensor([below / 4, below / 2, below / 4, 1 - below]), atol=0.02)


@pytest.mark.parametrize("tangents", [0, 2])
def test_bandwidth_maximises_the_likelihood_of_what_was_left_out(tangents):
    parts = tiny(renders=30, tangents=tangents).libraries[CAR]
    h, queries = parts.std[0].item(), torch.arange(len(parts))
    likelihood = _components.loo_likelihood(parts, queries)
    found = _components.golden(likelihood, 0.005, 1.0)
    assert found == pytest.approx(h, rel=1e-3)
    assert likelihood(found) > max(
        likelihood(found * 0.97), likelihood(found * 1.03), likelihood(found / 3), likelihood(found * 3)
    )


def test_leave_one_out_likelihood_by_brute_force():
    parts = tiny(renders=3).libraries[CAR]
    x, h = composites(parts, torch.full((3,), 0.5))[:, 0], 0.2
    value = 0.0
    for i in range(len(x)):
        others = torch.arange(len(x)) != i
        distance = (x[i] - x[others]).square().sum(1)
        terms = parts.weight[others].double().log() - distance / (2 * h**2) - x.shape[1] * math.log(h)
        value += torch.logsumexp(terms, 0).item() / len(x)
    assert _components.loo_likelihood(parts, torch.arange(len(x)))(h) == pytest.approx(value, rel=1e-6)


def test_tangents_follow_the_camera():
    """A picture from one standard deviation further round is nearer with its tangents than without them."""
    flat, bent = (tiny(size=24, renders=20, tangents=n, bandwidth=0.05).libraries[CAR] for n in (0, 2))
    assert torch.equal(flat.rgb, bent.rgb[::3])
    reach = bent.rgb.view(len(bent), 3, -1)[:, 1:].norm(dim=2)
    assert (reach > 0.05).all()


def test_samples_are_red_cars(kit):
    """DDIM with guidance ends on renders of the prompt, from noise alone, over the background that was asked for; each
    sample is a render with grain of deviation h, as its smoothed data are."""
    prior = Exact(size=32, renders=60, others=300)
    z, colour = draw(6, 3, 32, 32, seed=3), torch.tensor([[0.2, 0.4, 0.9]]).expand(6, 3)
    view = kit.view_of(prior, z, background=colour, text="a red car", negative="")
    out = kit.ddim(prior, z, view, torch.linspace(0.9995, 0.0005, 40), scale=3.0)
    image, h = prior.decode(out), prior.libraries[CAR].std[0]
    assert (image[:, :6, :6].mean((1, 2)) - colour).abs().max() < 4 * h / 2 / 6
    nearest = torch.cdist(out.flatten(1).double(), composites(prior.libraries[CAR], colour[0])[:, 0]).amin(
        1
    ) / math.sqrt(out[0].numel())
    assert ((nearest / h > 0.7) & (nearest / h < 1.02)).all()  # forty Euler steps lose a fifth of the grain
    centre = image[:, 12:20, 12:20].mean((1, 2))
    assert (centre[:, 0] > centre[:, 1:].amax(1) + 0.15).all()


def test_camera_kernel_turns_the_car(kit):
    """With a narrow kernel the answer for pure noise is a view from about the camera's own side."""
    prior = Exact(size=16, renders=40, others=40, camera=10.0)
    cameras, z, t = ring(4, size=16), draw(4, 3, 16, 16), torch.full((4,), 0.99)
    rho = prior.responsibilities(z, t, prior.text(["a red car"] * 4), cameras)
    parts = prior.libraries[CAR]
    outward = rho[:, -len(parts) :].float() @ parts.outward
    direction = torch.nn.functional.normalize(outward, dim=1) * torch.nn.functional.normalize(cameras.centre, dim=1)
    assert (direction.sum(1) > math.cos(math.radians(20))).all()
    unknown = prior.responsibilities(z, t, prior.text(["a red car"] * 4))
    assert not torch.allclose(unknown, rho)


def test_words():
    prior = Exact(renders=1, others=1)
    with pytest.raises(Mistake):
        prior.text(["a red zeppelin"])
    assert len(Exact(unknown="ignore").text(["a red zeppelin", "a red car"])) == 2
    rows = prior.text(["a red car, side view", "", "a red automobile, side view"]).tokens[:, 0, 0].tolist()
    assert rows == [0, 1, 0]
    for wrong in ({"renders": 0}, {"bandwidth": 0.0}, {"tangents": 9}, {"camera": -1.0}):
        with pytest.raises(Mistake):
            build.make("priors", {"type": "exact", **wrong})


def test_a_row_without_renders_is_a_mistake():
    prior = Exact(size=8, others=1)
    with pytest.raises(Mistake, match="others"):
        prior.eps(draw(2, 3, 8, 8), torch.full((2,), 0.5), prior.text([", front view", ", back view"]))


def test_same_bytes_whatever_the_global_generator():
    one = tiny()
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    two = tiny()
    two.student(rank=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    for wish in one.libraries:
        assert torch.equal(one.libraries[wish].rgb, two.libraries[wish].rgb) and torch.equal(
            one.libraries[wish].std, two.libraries[wish].std
        )


def test_large_batches_are_cut_into_rows(kit):
    prior = tiny()
    z, t, cameras = (
        draw(70, 3, 12, 12),
        torch.rand(70, generator=torch.Generator().manual_seed(1)) * 0.9 + 0.05,
        kit.seen_from(70, 12),
    )
    view = kit.view_of(
        prior, z, cameras, torch.rand(70, 3, generator=torch.Generator().manual_seed(2)), text="a red car"
    )
    whole = predict(prior, z, t, view, "text")[0]
    some = torch.tensor([3, 40, 69])
    assert torch.allclose(whole[some], predict(prior, z[some], t[some], view.at(some), "text")[0], atol=1e-5)
    assert prior.evaluations == 73


def test_student_starts_as_the_prior_and_learns(kit):
    """It fits the noise in one noisy render better than its base does; the base's answers stay what they were."""
    prior = tiny()
    student = prior.student(rank=2)
    assert not [name for name in student.state_dict() if "base" in name]
    cameras, text, t = kit.seen_from(8, 12), prior.text(["a red car"] * 8), torch.full((8,), 0.6)
    alpha, sigma = (per_view(v, t[:, None, None, None]) for v in prior.alpha_sigma(t))
    x, noise = torch.full((8, 3, 12, 12), 0.4), draw(8, 3, 12, 12)
    z = alpha * x + sigma * noise
    before = prior.eps(z, t, text, cameras)
    assert torch.equal(student.eps(z, t, text, cameras), before)
    optimizer, losses = torch.optim.Adam(student.parameters(), lr=3e-3), []
    for _ in range(60):
        loss = (student.eps(z, t, text, cameras) - noise).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert torch.equal(prior.eps(z, t, text, cameras), before)
    assert student.eps(z, t, text, None).isfinite().all()


def test_views_of_a_library_are_where_they_say():
    """front, side, back, overhead by the angles of docs/conventions.md, from the direction towards the camera; and what
    is seen from there: the car is longest from the side."""
    parts = tiny(size=24, renders=60).libraries[CAR]
    x, y, z = parts.outward.unbind(1)
    elevation, off_front = z.asin() * 180 / math.pi, torch.atan2(x, -y).abs() * 180 / math.pi
    assert parts.outward.norm(dim=1).sub(1).abs().max() < 1e-5 and elevation.min() > -10.1 and elevation.max() < 75.1
    for word, low, high in ((0, 0, 45), (1, 45, 135), (2, 135, 180)):
        rows = parts.word == word
        assert rows.sum() == 60 and (elevation[rows] <= 60).all()
        assert (off_front[rows] >= low).all() and (off_front[rows] <= high).all()
    assert (elevation[parts.word == 3] > 60).all()
    wide = [(1 - parts.gap[parts.word == i]).view(-1, 24, 24).amax(1).sum(1).mean() for i in range(3)]
    assert wide[1] > 1.2 * wide[0] and wide[1] > 1.2 * wide[2]


def test_the_azimuth_tangent_is_half_the_difference_of_two_pictures():
    """At 70 degrees of elevation a camera that moves by `angle` along the sphere turns by angle / cos 70 in azimuth."""
    soups = [world.build(CAR, world.instance_seed("prior", 0))]
    high, turn = torch.tensor([math.radians(70.0)]), 0.05 / 0.34202014
    cameras = look_at(torch.tensor([0.4]), high, size=24, subject=torch.tensor([0]))
    found = _renders._tangent("azimuth", soups, cameras, torch.tensor([0.05]))
    up, down = (render(soups, look_at(torch.tensor([0.4 + s * turn]), high, size=24)) for s in (1, -1))
    torch.testing.assert_close(found.rgb, (up.rgb - down.rgb) / 2, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.alpha, (up.alpha - down.alpha) / 2, atol=1e-4, rtol=0)
    assert found.rgb.abs().max() > 0.02


def test_size_and_brightness_go_up():
    """The picture grows by 4 % in area between one deviation down and up, brightness by 7 % in value."""
    soups = [world.build(CAR, world.instance_seed("prior", 0))]
    cameras = look_at(torch.zeros(1), torch.zeros(1), size=32, subject=torch.tensor([0]))
    plain = render(soups, cameras)
    size, light = (_renders._tangent(n, soups, cameras, torch.tensor([0.05])) for n in ("size", "brightness"))
    assert 0.02 < size.alpha.sum() / plain.alpha.sum() < 0.07
    assert light.alpha.eq(0).all() and light.rgb.min() >= 0
    assert (light.rgb.sum() / plain.rgb.sum()).item() == pytest.approx(0.035, rel=0.3)


def test_answers_depend_on_the_prompts_and_their_first_order_alone():
    """Asked once or often, evaluated in between or not: the same bytes. Another prompt or another order is another
    prior, by more than rounding for a prompt."""
    few = {"size": 8, "instances": 1, "renders": 3, "others": 5, "bandwidth": 0.3}
    z, t = draw(2, 3, 8, 8), torch.tensor([0.9, 0.98])

    def answer(prior):
        return prior.eps(z, t, prior.text(["", "a red car"]))

    one, two, turned, more = (Exact(**few) for _ in range(4))
    one.text(["a red car", "a blue cube, side view", ""])
    for prompt in ("a red car", "a red car", "a blue cube, side view"):
        two.text([prompt])
        answer(two)
    turned.text(["", "a blue cube", "a red car"])
    more.text(["a red car", "a blue cube", "a castle"])
    expected = answer(one)
    assert torch.equal(answer(two), expected) and torch.equal(answer(two), expected)
    torch.testing.assert_close(answer(turned), expected, atol=1e-5, rtol=0)
    other = answer(more)
    assert (other[0] - expected[0]).abs().max() > 1e-4 and torch.equal(other[1], expected[1])
