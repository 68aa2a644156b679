"""Training on pairs and a teacher, whose features or outputs are imitated.

Features: Distilling Image Dehazing with Heterogeneous Task Imitation (Hong et al., CVPR 2020).
Outputs: Distilling the Knowledge in a Neural Network (Hinton et al., arXiv:1503.02531), for
pictures.
"""

import hashlib
import inspect
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from unhaze.data import PairedBatch
from unhaze.errors import UnhazeError
from unhaze.methods.steps import Pairs, Setup
from unhaze.published import open_weights


class Distilled:
    """total = sum of weight * loss(restored, clear, hazy) + imitation * sum over depths of
    mean |student(hazy) - teacher(clear)|, features of the same depth, + outputs * mean
    |student(hazy) - teacher(hazy)|, restored pictures.

    teacher: weights file or run folder of a trained teacher. It is frozen and not part of the
        state; `facts` holds the sha256 of its weights, so that a run cannot be resumed with
        another teacher.
    imitation: weight of the features. The paper's value is unknown; 1 as in a third party's port.
    outputs: weight of the restored pictures; 0 for KDDN's teacher, which is an autoencoder.
    depths: which of the networks' outputs are compared, counted from 1: by default the last of each
        third of six. Differs: the port never compares the third pair, and keeps training the
        teacher.

    For imitation both return (restored, features) when called with `features=True`, as KDDN.
    """

    def __init__(
        self,
        setup: Setup,
        *,
        teacher: str,
        imitation: float = 1.0,
        outputs: float = 0.0,
        depths: Sequence[int] = (2, 4, 6),
    ):
        self.pairs = Pairs(setup)
        for name, weight in (("imitation", imitation), ("outputs", outputs)):
            if not 0 <= weight < math.inf:
                raise UnhazeError(f"method 'distilled': {name} is {weight}, expected at least 0")
        if not imitation and not outputs:
            raise UnhazeError("method 'distilled': imitation and outputs are 0; set one of them")
        if not Path(teacher).exists():
            raise UnhazeError(
                f"method 'distilled': there is no teacher '{teacher}'; train one first, as "
                "recipes/table1/kddn-teacher.toml does, or set method.teacher"
            )
        self.imitation, self.outputs, self.depths = imitation, outputs, tuple(depths)
        self.teacher = open_weights(teacher).net.to(setup.fabric.device).requires_grad_(False)
        if imitation:
            check(setup.net, self.teacher, self.depths, setup.fabric.device)
        self.facts = {"teacher_sha256": digest(self.teacher)}
        self.networks, self.optimizers = self.pairs.networks, self.pairs.optimizers

    def step(self, batches: Sequence[PairedBatch], lr: float) -> dict[str, Tensor]:
        """One optimizer step over `batches` (more than one: accumulated). Returns mean terms."""
        return self.pairs.step(batches, lr, self.measure)

    def measure(self, batch: PairedBatch) -> dict[str, Tensor]:
        """Returns the losses of one batch, "imitation" and "outputs" if used, and "total"."""
        if self.imitation:
            restored, features = self.pairs.restorer(batch.hazy, features=True)
        else:
            restored, features = self.pairs.restorer(batch.hazy), ()
        with self.pairs.setup.fabric.autocast():
            terms = self.pairs.weigh(restored, batch)
            if self.imitation:
                terms["imitation"] = self.imitated(features, batch.clear)
                terms["total"] = terms["total"] + self.imitation * terms["imitation"]
            if self.outputs:
                with torch.no_grad():
                    taught = self.teacher(batch.hazy)
                terms["outputs"] = functional.l1_loss(restored.float(), taught.float())
                terms["total"] = terms["total"] + self.outputs * terms["outputs"]
        return terms

    def imitated(self, features: Sequence[Tensor], clear: Tensor) -> Tensor:
        """Returns the summed distance of the student's features to the teacher's of `clear`."""
        with torch.no_grad():
            taught = self.teacher(clear, features=True)[1]
        return torch.stack(
            [
                functional.l1_loss(features[depth - 1].float(), taught[depth - 1].float())
                for depth in self.depths
            ]
        ).sum()


def check(
    student: nn.Module, teacher: nn.Module, depths: Sequence[int], device: torch.device
) -> None:
    """Raises UnhazeError unless both have features of the same shape at all `depths`."""
    shapes = []
    for role, net in (("student", student), ("teacher", teacher)):
        if "features" not in inspect.signature(net.forward).parameters:
            raise UnhazeError(
                f"method 'distilled': {type(net).__name__} has no features to compare; set the "
                f"{role} to a network that has them, such as kddn and kddn-teacher"
            )
        training = net.training
        with torch.no_grad():
            features = net.eval()(torch.zeros(1, 3, 16, 16, device=device), features=True)[1]
        net.train(training)
        if not depths or min(depths) < 1 or max(depths) > len(features):
            raise UnhazeError(
                f"method 'distilled': depths are {list(depths)}; expected some from 1 to "
                f"{len(features)}, what the {role} has"
            )
        shapes.append([tuple(features[depth - 1].shape[1:]) for depth in depths])
    if shapes[0] != shapes[1]:
        raise UnhazeError(
            f"method 'distilled': features of the student are {shapes[0][0]}, of the teacher "
            f"{shapes[1][0]}; give both the same width"
        )


def digest(net: nn.Module) -> str:
    """Returns the sha256 of names and values of all tensors of `net`."""
    summed = hashlib.sha256()
    for name, tensor in net.state_dict().items():
        summed.update(name.encode())
        summed.update(tensor.cpu().contiguous().numpy().tobytes())
    return summed.hexdigest()
