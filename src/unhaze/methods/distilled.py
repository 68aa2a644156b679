"""Training by pairs and a teacher: the student's features imitate those of an autoencoder.

Distilling Image Dehazing with Heterogeneous Task Imitation (Hong et al., CVPR 2020).
"""

import hashlib
import inspect
from collections.abc import Sequence
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional

from unhaze.config import Optimizer
from unhaze.data import PairedBatch
from unhaze.errors import UnhazeError
from unhaze.methods.alarms import Alarm
from unhaze.methods.memories import Memory
from unhaze.methods.steps import (
    accumulate,
    apply_gradients,
    build_optimizer,
    require_losses,
    weigh,
)
from unhaze.weights import load_model


class Distilled:
    """total = sum of weight * loss(restored, clear, hazy) + imitation * sum over depths of
    mean |student(hazy) - teacher(clear)|, features of the same depth.

    teacher: weights file or run folder of a trained teacher. It is frozen and no part of the state;
        `facts` hold the sha256 of its weights, so that no run goes on with another teacher.
    imitation: the weight of imitation. The paper's is unknown to us; 1 as in a third party's port.
    depths: which of the networks' outputs are compared, counted from 1: by default the last of each
        third of six. Differs from the port, whose third pair is never compared and whose teacher
        goes on training.

    Student and teacher answer (restored, features) when called with `features=True`, as KDDN does.
    """

    def __init__(
        self,
        *,
        fabric: Fabric,
        net: nn.Module,
        forward: nn.Module,
        losses: dict[str, nn.Module],
        weights: dict[str, float],
        optimizer: Optimizer,
        clip: float,
        teacher: str,
        imitation: float = 1.0,
        depths: Sequence[int] = (2, 4, 6),
    ):
        require_losses(losses)
        if not imitation >= 0:
            raise UnhazeError(f"method 'distilled': imitation is {imitation}, expected at least 0")
        if not Path(teacher).exists():
            raise UnhazeError(
                f"method 'distilled': there is no teacher '{teacher}'; train one first, as "
                "recipes/table1/kddn-teacher.toml does, or set method.teacher"
            )
        self.fabric, self.losses, self.weights, self.clip = fabric, losses, weights, clip
        self.imitation, self.depths = imitation, tuple(depths)
        self.teacher = load_model(teacher).net.to(fabric.device).requires_grad_(False)
        check(net, self.teacher, self.depths, fabric.device)
        self.facts = {"teacher_sha256": digest(self.teacher)}
        self.networks = {"restorer": net}
        self.memories: dict[str, Memory] = {}
        self.alarms: tuple[Alarm, ...] = ()
        self.restorer, wrapped = fabric.setup(forward, build_optimizer(net, optimizer))
        self.optimizers = {"restorer": wrapped}

    def step(self, batches: Sequence[PairedBatch], lr: float) -> dict[str, Tensor]:
        """One optimizer step over `batches` (more than one: accumulated). Answers mean terms."""
        terms = accumulate(self.fabric, self.restorer, batches, self.measure)
        optimizer = self.optimizers["restorer"]
        apply_gradients(self.fabric, self.restorer, optimizer, lr=lr, clip=self.clip)
        return terms

    def measure(self, batch: PairedBatch) -> dict[str, Tensor]:
        """The losses of one batch, "imitation", and the weighted sum of all, "total"."""
        restored, features = self.restorer(batch.hazy, features=True)
        with self.fabric.autocast():
            with torch.no_grad():
                taught = self.teacher(batch.clear, features=True)[1]
            terms = weigh(self.losses, self.weights, restored, batch)
            gaps = [
                functional.l1_loss(features[depth - 1].float(), taught[depth - 1].float())
                for depth in self.depths
            ]
        terms["imitation"] = torch.stack(gaps).sum()
        terms["total"] = terms["total"] + self.imitation * terms["imitation"]
        return terms


def check(
    student: nn.Module, teacher: nn.Module, depths: Sequence[int], device: torch.device
) -> None:
    """UnhazeError unless both have features of one shape at all `depths`."""
    shapes = []
    for role, net in (("student", student), ("teacher", teacher)):
        if "features" not in inspect.signature(net.forward).parameters:
            raise UnhazeError(
                f"method 'distilled': {type(net).__name__} has no features to compare; set the "
                f"{role} to a network that has, such as kddn and kddn-teacher"
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
    """sha256 of names and values of all tensors of `net`."""
    summed = hashlib.sha256()
    for name, tensor in net.state_dict().items():
        summed.update(name.encode())
        summed.update(tensor.cpu().contiguous().numpy().tobytes())
    return summed.hexdigest()
