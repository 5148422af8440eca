"""Products with many pictures against torch in double precision."""

import numba
import pytest
import torch

from dream3d.priors._products import FEW, dots, mixed


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("count, size", [(1, 1), (67, 1025), (130, 300)])
@pytest.mark.parametrize("rows", [1, 3, 4, 7, FEW, FEW + 1])
def test_products_are_those_of_double_precision(count, size, rows):
    pictures, y, c = numbers(count, size), numbers(rows, size, seed=1), numbers(rows, count, seed=2)
    torch.testing.assert_close(dots(pictures, y), (y.double() @ pictures.T.double()).float(), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(mixed(c, pictures), (c.double() @ pictures.double()).float(), rtol=1e-5, atol=1e-4)


def test_what_is_not_asked_for_is_left_out_and_the_rest_is_there():
    pictures, y = numbers(70, 40), numbers(6, 40, seed=1)
    asked = numbers(6, 70, seed=3) > 0.5
    whole = y @ pictures.T
    torch.testing.assert_close(dots(pictures, y, asked), whole.where(asked, 0), rtol=1e-5, atol=1e-5)
    assert torch.equal(dots(pictures, y, torch.zeros_like(asked)), torch.zeros(6, 70))


def test_pictures_without_weight_are_not_read():
    pictures, c = numbers(9, 40), numbers(3, 9, seed=1)
    c[:, [2, 5, 6]] = 0
    whole = mixed(c, pictures)
    pictures[[2, 5, 6]] = torch.nan
    assert torch.equal(mixed(c, pictures), whole)
    assert torch.equal(mixed(torch.zeros(3, 9), pictures), torch.zeros(3, 40))


def test_any_number_of_threads_gives_the_same_bits():
    pictures, y, c = numbers(300, 2100), numbers(5, 2100, seed=1), numbers(5, 300, seed=2)
    found, before = [], numba.get_num_threads()
    for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
        numba.set_num_threads(threads)
        found.append((dots(pictures, y), mixed(c, pictures)))
    numba.set_num_threads(before)
    assert all(map(torch.equal, *found))


def test_they_are_differentiated_where_that_is_asked_for():
    pictures, y, c = numbers(20, 30), numbers(2, 30, seed=1).requires_grad_(), numbers(2, 20, seed=2).requires_grad_()
    (dots(pictures, y).sum() + mixed(c, pictures).sum()).backward()
    torch.testing.assert_close(y.grad, pictures.sum(0).expand(2, -1))
    torch.testing.assert_close(c.grad, pictures.sum(1).expand(2, -1))
    with torch.no_grad():
        assert not dots(pictures, y).requires_grad
