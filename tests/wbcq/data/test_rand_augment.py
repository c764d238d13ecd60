"""RandAugment: it changes pictures moderately, and aligned ones alike."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("kornia")

import torch

from wbcq.data import Augment
from wbcq.data import rand_augment as module
from wbcq.data.rand_augment import rand_augment


def generator(seed: int = 0):  # type: ignore[no-untyped-def]
    return torch.Generator().manual_seed(seed)


def smooth(count: int, channels: int = 3):  # type: ignore[no-untyped-def]
    noise = torch.rand(count, channels, 4, 4, generator=generator(9))
    return torch.nn.functional.interpolate(noise, size=24, mode="bicubic").clamp_(0, 1)


class TestRandAugment:
    def test_pictures_change_and_stay_in_range(self) -> None:
        pictures = smooth(40)
        changed = rand_augment(pictures, 3, 5, generator())
        assert changed.shape == pictures.shape
        assert float(changed.min()) >= 0
        assert float(changed.max()) <= 1
        moved = (changed - pictures).abs().mean(dim=(1, 2, 3))
        assert float((moved > 1e-3).float().mean()) > 0.8
        # Magnitude 5 leaves cells recognisable.
        assert float(moved.median()) < 0.15

    def test_same_generator_same_bits(self) -> None:
        pictures = smooth(10)
        first, second, other = (rand_augment(pictures, 3, 5, generator(s)) for s in (1, 1, 2))
        assert torch.equal(first, second)
        assert not torch.equal(first, other)

    def test_the_global_generator_is_left_alone(self) -> None:
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        rand_augment(smooth(3), 2, 5, generator())
        assert torch.equal(torch.rand(3), expected)

    def test_aligned_pictures_stay_aligned(self) -> None:
        """Four copies of one picture stay four copies."""
        pictures = smooth(24)
        changed = rand_augment(pictures.repeat(1, 4, 1, 1), 3, 10, generator())
        assert all(torch.equal(changed[:, :3], view) for view in changed.split(3, dim=1))
        assert not torch.equal(changed[:, :3], pictures)

    @pytest.mark.parametrize("magnitude", [0, 5, 30])
    def test_strength_of_each_operation(self, magnitude: int) -> None:
        pictures = smooth(16)
        for position, make in enumerate(module._operations(magnitude)[1:11]):
            assert make is not None
            torch.manual_seed(position)
            moved = float((make()(pictures) - pictures).abs().mean())
            if magnitude == 0:
                assert moved < 0.003, position  # posterization to 8 bits rounds
            else:
                assert moved > 1e-5, position

    def test_grey_pictures_stay_grey(self) -> None:
        grey = smooth(16, 1).repeat(1, 3, 1, 1)
        changed = rand_augment(grey, 3, 8, generator())
        torch.testing.assert_close(changed[:, 0], changed[:, 2])

    def test_other_channels(self) -> None:
        with pytest.raises(ValueError, match="4 channels"):
            rand_augment(torch.rand(2, 4, 8, 8), 1, 5, generator())


class TestAugment:
    def test_operations_come_after_the_rest(self) -> None:
        pictures = smooth(6)
        plain = Augment(operations=0)(pictures, generator())
        both = Augment(operations=2, magnitude=4)(pictures, generator())
        assert not torch.equal(plain, both)
        source = generator()
        Augment(operations=0)(pictures, source)
        assert torch.equal(rand_augment(plain, 2, 4, source), both)

    @pytest.mark.parametrize(
        ("setting", "message"),
        [({"operations": -1}, "operations is -1"), ({"magnitude": 31}, "magnitude is 31")],
    )
    def test_out_of_range(self, setting: dict[str, int], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Augment(**setting)  # type: ignore[arg-type]
