"""Pictures of white blood cells: a synthetic generator, folders, preprocessing, augmentation."""

from wbcq.data.folder import FolderPictures, Splits, load_splits, open_folder, open_pbc
from wbcq.data.pictures import ArrayPictures, DatasetError, PictureSet, preload
from wbcq.data.transforms import Augment, Preprocess, read_picture

__all__ = [
    "ArrayPictures",
    "Augment",
    "DatasetError",
    "FolderPictures",
    "PictureSet",
    "Preprocess",
    "Splits",
    "load_splits",
    "open_folder",
    "open_pbc",
    "preload",
    "read_picture",
]
