"""Pictures of white blood cells: a synthetic generator, folders, tables, splits, augmentation."""

from wbcq.data.files import FilePictures, open_folder
from wbcq.data.pictures import ArrayPictures, DatasetError, PictureSet, preload
from wbcq.data.public import open_bcisc, open_pbc
from wbcq.data.sources import Sets, Source, open_source
from wbcq.data.splits import Splits, load_splits, stratified_folds, stratified_split
from wbcq.data.tables import MODALITIES, fold_numbers, open_fold, open_table
from wbcq.data.transforms import Augment, Preprocess, read_picture

__all__ = [
    "MODALITIES",
    "ArrayPictures",
    "Augment",
    "DatasetError",
    "FilePictures",
    "PictureSet",
    "Preprocess",
    "Sets",
    "Source",
    "Splits",
    "fold_numbers",
    "load_splits",
    "open_bcisc",
    "open_fold",
    "open_folder",
    "open_pbc",
    "open_source",
    "open_table",
    "preload",
    "read_picture",
    "stratified_folds",
    "stratified_split",
]
