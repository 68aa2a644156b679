"""From a recipe's [data] table to the dataset it names."""

import inspect
from pathlib import Path

from unhaze.config import Part
from unhaze.data import PairedData
from unhaze.data.catalog import DATASETS, find_pairs
from unhaze.data.folders import PairedFolders
from unhaze.data.rgbd import RGBD
from unhaze.errors import UnhazeError
from unhaze.names import check_arguments, lookup, nearest


def create_data(part: Part) -> PairedData:
    """The dataset `part.name` of `DATASETS`, its files found (and those of `rgbd` decoded).

    Arguments are those of the dataset's `find` (of `RGBD` for `rgbd`), `root`, and `cache`.
    UnhazeError: unknown name or argument, no such folder, files without a partner, no clear
    pictures, or a dataset with splits and no `split`, since to train on the test set is no default.
    """
    dataset = lookup(DATASETS, part.name, "dataset")
    arguments = dict(part.arguments)
    if part.name == "rgbd":
        check_arguments(RGBD, arguments, "data 'rgbd'")
        return RGBD(arguments.pop("root"), **arguments)
    own = inspect.signature(dataset.find).parameters
    allowed = ["root", "cache", *(name for name in own if name not in ("dataset", "root"))]
    for name in arguments:
        if name not in allowed:
            raise UnhazeError(
                f"data '{part.name}' has no argument '{name}'; {nearest(name, allowed)}"
            )
    if not dataset.has_clear:
        raise UnhazeError(f"'{part.name}' has no clear pictures; it cannot be trained on in pairs")
    if dataset.splits and "split" not in arguments:
        splits = ", ".join(f"'{name}'" for name in dataset.splits)
        raise UnhazeError(f"data '{part.name}' needs split: one of {splits} or 'all'")
    root, cache = arguments.pop("root", "."), arguments.pop("cache", False)
    return PairedFolders(find_pairs(part.name, Path(str(root)), **arguments), cache=cache)
