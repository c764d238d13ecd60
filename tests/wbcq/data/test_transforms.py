"""Preprocessing and augmentation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL")

from PIL import Image

from wbcq.data import Augment, DatasetError, Preprocess, read_picture


class TestPreprocess:
    def test_crop_is_centred_and_square(self) -> None:
        pixels = np.zeros((40, 60, 3), np.uint8)
        pixels[10:30, 20:40] = 200  # the central half of the shorter side
        cropped = Preprocess(size=20, crop=0.5)(Image.fromarray(pixels))
        np.testing.assert_array_equal(cropped, np.full((20, 20, 3), 200, np.uint8))

    def test_whole_picture_at_its_own_size_is_unchanged(self) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
        np.testing.assert_array_equal(Preprocess(32)(Image.fromarray(pixels)), pixels)

    def test_reduction_is_antialiased(self) -> None:
        stripes = np.zeros((128, 128, 3), np.uint8)
        stripes[:, ::2] = 255
        reduced = Preprocess(16)(Image.fromarray(stripes)).astype(int)
        assert np.abs(reduced - 127).max() < 12

    def test_metadata_round_trip(self) -> None:
        preprocess = Preprocess(size=96, crop=0.75)
        assert Preprocess.from_metadata(preprocess.to_metadata()) == preprocess

    @pytest.mark.parametrize(
        ("size", "crop", "message"), [(4, 1.0, "size is 4"), (32, 0.0, "crop"), (32, 1.1, "crop")]
    )
    def test_wrong_arguments(self, size: int, crop: float, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Preprocess(size, crop)


class TestReadPicture:
    @pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
    def test_every_mode_becomes_rgb(self, tmp_path: Path, mode: str) -> None:
        suffix = "tif" if mode == "CMYK" else "png"
        Image.new("RGB", (9, 7), (10, 200, 30)).convert(mode).save(tmp_path / f"a.{suffix}")
        picture = read_picture(tmp_path / f"a.{suffix}")
        assert picture.mode == "RGB"
        assert picture.size == (9, 7)

    def test_16_bit_keeps_the_upper_bits(self, tmp_path: Path) -> None:
        grey = np.array([[0, 256, 0xFFFF]], np.uint16)
        Image.fromarray(grey).save(tmp_path / "a.png")
        assert np.asarray(read_picture(tmp_path / "a.png"))[0, :, 0].tolist() == [0, 1, 255]

    def test_camera_orientation_is_applied(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # rotate by 90 degrees
        Image.new("RGB", (20, 10)).save(tmp_path / "a.jpg", exif=exif)
        assert read_picture(tmp_path / "a.jpg").size == (10, 20)

    def test_truncated_file_is_named(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / "a.jpg")
        data = (tmp_path / "a.jpg").read_bytes()
        (tmp_path / "a.jpg").write_bytes(data[: len(data) // 2])
        with pytest.raises(DatasetError, match=r"cells/a\.jpg: damaged"):
            read_picture(tmp_path / "a.jpg", "cells/a.jpg")

    @pytest.mark.parametrize(
        ("content", "message"), [(b"", "not a picture"), (b"hello", "not a picture"), (None, "no")]
    )
    def test_no_picture(self, tmp_path: Path, content: bytes | None, message: str) -> None:
        if content is not None:
            (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(DatasetError, match=message):
            read_picture(tmp_path / "a.png")


class TestAugment:
    torch = pytest.importorskip("torch")

    def batch(self, count: int = 16) -> torch.Tensor:
        return self.torch.rand(count, 3, 12, 12, generator=self.generator(99))

    def generator(self, seed: int) -> torch.Generator:
        return self.torch.Generator().manual_seed(seed)

    def test_nothing_switched_on_changes_nothing(self) -> None:
        batch = self.batch()
        same = Augment(flip=False, rotation=0, zoom=0, light=0)(batch, self.generator(0))
        self.torch.testing.assert_close(same, batch, atol=1e-5, rtol=0)

    def test_flips_alone_give_the_four_mirror_images(self) -> None:
        batch = self.batch(64)
        flipped = Augment(flip=True, rotation=0, zoom=0, light=0)(batch, self.generator(0))
        seen = set()
        for before, after in zip(batch, flipped, strict=True):
            images = [before, before.flip(1), before.flip(2), before.flip(1, 2)]
            found = [
                k for k, image in enumerate(images) if self.torch.allclose(image, after, atol=1e-4)
            ]
            assert len(found) == 1
            seen.add(found[0])
        assert seen == {0, 1, 2, 3}

    def test_rotation_keeps_the_centre_and_the_radius(self) -> None:
        batch = self.torch.zeros(32, 1, 33, 33)
        batch[:, :, 16, 16] = 1
        batch[:, :, 16, 26] = 1
        rotated = Augment(flip=False, rotation=180, zoom=0, light=0)(batch, self.generator(1))
        assert (rotated[:, 0, 16, 16] > 0.9).all()
        y, x = self.torch.meshgrid(self.torch.arange(33), self.torch.arange(33), indexing="ij")
        radius = self.torch.hypot(y - 16.0, x - 16.0)
        outer = rotated[:, 0] * (radius > 3)
        mean = (outer * radius).sum((1, 2)) / outer.sum((1, 2))
        assert ((mean - 10).abs() < 0.5).all()
        angles = self.torch.atan2(
            outer.sum(2) @ (self.torch.arange(33.0) - 16),
            outer.sum(1) @ (self.torch.arange(33.0) - 16),
        )
        assert angles.std() > 1

    def test_same_generator_same_result(self) -> None:
        first = Augment()(self.batch(), self.generator(5))
        assert self.torch.equal(first, Augment()(self.batch(), self.generator(5)))
        assert not self.torch.equal(first, Augment()(self.batch(), self.generator(6)))

    def test_values_stay_in_range(self) -> None:
        bright = Augment(light=0.5)(self.torch.ones(8, 3, 12, 12), self.generator(0))
        assert bright.max() <= 1
        assert bright.min() >= 0
        assert (bright.amin((2, 3)) < 1).any()
