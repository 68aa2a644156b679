"""Converts a network to an ONNX graph whose means over the whole picture can be replaced."""

import contextlib
import functools
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import torch
from onnx_ir.passes import common as passes
from onnxscript import TracedOnnxFunction, ir, optimizer, rewriter
from onnxscript.rewriter.rules import common as rules
from torch import nn
from torch._dynamo import config as dynamo
from torch._subclasses import fake_impls
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import ExportedProgram
from torch.fx import config as tracing
from torch.fx.experimental import proxy_tensor

from unhaze.errors import UnhazeError
from unhaze.exporting.operators import DIRECT, LAST, OPSET, OWN, Translations
from unhaze.nets.deform_conv import ModulatedDeformConv2d

# torch.onnx.export reads it from the source of five hundred functions, for every network anew.
FUNCTION_IR: Any = getattr(TracedOnnxFunction, "function_ir", None)
KEPT = property(functools.cache(FUNCTION_IR.fget)) if hasattr(FUNCTION_IR, "fget") else None
# Operators with a result like their input, of which torch.export finds that by decomposing them.
ATEN = torch.ops.aten
ELEMENTWISE = (ATEN.relu.default, ATEN.gelu.default, ATEN.silu.default, ATEN.leaky_relu.default)
ELEMENTWISE += (ATEN.sigmoid.default, ATEN.tanh.default)
SMALL = 256  # values; fewer do not justify a node
# Local rewriting rules of the graph.
RULES = (
    rules.no_op_expand_rule,
    rules.collapse_slice_rule,
    rules.collapse_slice2_rule,
    rules.fuse_batchnorm_into_conv_rule,
    rules.fuse_batchnorm_into_conv_transpose_rule,
)


def to_onnx(net: nn.Module, name: str) -> onnx.ModelProto:
    """Returns the graph of `net` with its weights; `name` is used in error messages.

    Sets its deformable convolutions to `as_one_node`: `net` cannot be trained afterwards.
    """
    for layer in net.modules():
        if isinstance(layer, ModulatedDeformConv2d):
            layer.as_one_node = True
    # A free size must not be 0 or 1 in the example: torch.export would treat it as a constant.
    example, free = torch.rand(2, 3, 37, 50), torch.export.Dim.DYNAMIC
    try:
        with quiet():
            with quick_tracing():
                traced = torch.export.export(
                    net, (example,), dynamic_shapes=({0: free, 2: free, 3: free},), strict=False
                )
            program = translate(traced)
            simplify(program.model)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise UnhazeError(f"net '{name}' cannot be exported to ONNX: {reason}") from error
    return tidy(program.model_proto)


@contextlib.contextmanager
def quick_tracing() -> Iterator[None]:
    """Spares torch.export what it computes with symbolic sizes and nobody needs: half its time."""
    # PyTorch's own table of operators, if this version has one.
    known = getattr(fake_impls, "get_fast_op_impls", dict)()
    before = dict(known)
    with (
        replaced(tracing, "do_not_emit_stack_traces", True),
        replaced(proxy_tensor, "_extract_tensor_metadata", lambda *_: None),
        # Looking results up takes longer than computing them.
        replaced(dynamo, "fake_tensor_cache_enabled", False),
    ):
        known.update(dict.fromkeys(ELEMENTWISE, result_like))
        try:
            yield
        finally:
            known.clear()
            known.update(before)


def result_like(mode: FakeTensorMode, features: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    """Returns size and type of the result of an operator of `ELEMENTWISE`."""
    with mode:
        return torch.empty_like(features)


def translate(traced: ExportedProgram) -> torch.onnx.ONNXProgram:
    """Returns the ONNX program of a traced network.

    torch.onnx.export first decomposes every network into simpler operators, which traces it again
    and takes longer than everything else together. Only operators that ONNX lacks and in-place
    operators need this.
    """
    schemas = [getattr(node.target, "_schema", None) for node in traced.graph.nodes]
    if not any(each is not None and each.is_mutable for each in schemas):
        vars(traced)["run_decompositions"] = lambda _: traced
        known = replaced(torch.fx.Interpreter, "run_node", known_values(traced))
        with contextlib.suppress(torch.onnx.OnnxExporterError), known:
            return translate_operators(traced, OWN | DIRECT)
        del vars(traced)["run_decompositions"]
    return translate_operators(traced, OWN)


def known_values(traced: ExportedProgram) -> Callable[..., Any]:
    """`Interpreter.run_node` with the values that tracing found, unless a node has changed.

    torch.onnx.export interprets the graph to find Python numbers that must become tensors, with
    symbolic sizes; computing all values again would take a quarter of the export.
    """
    known = {
        node: (node.args, node.meta["val"]) for node in traced.graph.nodes if "val" in node.meta
    }
    compute = torch.fx.Interpreter.run_node

    def run_node(interpreter: torch.fx.Interpreter, n: torch.fx.Node) -> Any:
        args, value = known.get(n, (None, None))
        return value if n.args is args else compute(interpreter, n)

    return run_node


@contextlib.contextmanager
def replaced(owner: object, name: str, value: Any) -> Iterator[None]:
    """Temporarily replaces an attribute of PyTorch, if this version has it."""
    before = getattr(owner, name, None)
    if before is None:
        yield
        return
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def translate_operators(
    traced: ExportedProgram, translations: Translations
) -> torch.onnx.ONNXProgram:
    """Returns the ONNX program of a traced network; OnnxExporterError for one that ONNX lacks."""
    with replaced(TracedOnnxFunction, "function_ir", KEPT or FUNCTION_IR):
        program = torch.onnx.export(
            traced,
            dynamo=True,
            opset_version=OPSET,
            input_names=["hazy"],
            output_names=["restored"],
            custom_translation_table=translations,
            verbose=False,
            optimize=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    return program


def simplify(model: ir.Model) -> None:
    """Folds constants and merges equal nodes, in place.

    torch.onnx does this as well, but also compares all pairs of slices to find splits, which takes
    minutes for some networks. Fusions are left to ONNX Runtime, except batch norms in convolutions.
    """
    passes.InlinePass()(model)
    for _ in range(2):  # shapes found in the first round make more values constant in the second
        optimizer.fold_constants(model)
        optimizer.remove_unused_nodes(model)
        passes.CommonSubexpressionEliminationPass()(model)
        rewriter.rewrite(model, RULES)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    passes.DeduplicateInitializersPass()(model)
    passes.OutputFixPass()(model)
    passes.NameFixPass()(model)


def tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Names the free sizes and removes the exporter's notes, which contain local paths."""
    graph = model.graph
    for value in (graph.input[0], graph.output[0]):
        for axis, free in ((0, "batch"), (2, "height"), (3, "width")):
            value.type.tensor_type.shape.dim[axis].dim_param = free
    for part in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
    del graph.value_info[:]
    onnx.checker.check_model(model)
    return model


def open_pools(model: onnx.ModelProto) -> list[str]:
    """Makes each mean over the whole picture replaceable; returns the values that are averaged.

    Mean k is computed over rows and columns `from_k` to `to_k` (everything) and becomes the inner
    value `pool_k`; the following nodes get

        pool_k + given * (given_k - pool_k)

    where `given` and `given_k` are 0. All these are constants, so the file has one input and one
    output. To restore a picture in tiles (`restore.native`), the constants become inputs and the
    means outputs when the file is loaded (`restore.engine`); the means over all tiles are then
    passed to each tile.
    """
    graph = model.graph
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    nodes, sources = [], []
    for node in list(graph.node):
        rank = rank_of_pool(node, constants)
        if rank is None:
            nodes.append(node)
            continue
        number, source, used = len(sources), node.input[0], node.output[0]
        pool, given, part = f"pool_{number}", f"given_{number}", f"part_{number}"
        first, last = f"from_{number}", f"to_{number}"
        node.input[0], node.output[0] = part, pool
        nodes += [
            onnx.helper.make_node("Slice", [source, first, last, "given_axes"], [part]),
            node,
            onnx.helper.make_node("Sub", [given, pool], [f"{pool}_change"]),
            onnx.helper.make_node("Mul", [f"{pool}_change", "given"], [f"{pool}_step"]),
            onnx.helper.make_node("Add", [pool, f"{pool}_step"], [used]),
        ]
        add_constant(graph, given, np.zeros([1] * rank, np.float32))
        add_constant(graph, first, np.zeros(2, np.int64))
        add_constant(graph, last, np.full(2, LAST))
        sources.append(source)
    if sources:
        add_constant(graph, "given", np.zeros((), np.float32))
        add_constant(graph, "given_axes", np.array([2, 3]))
        del graph.node[:]
        graph.node.extend(nodes)
        onnx.checker.check_model(model)
    return sources


def rank_of_pool(node: onnx.NodeProto, constants: dict[str, np.ndarray]) -> int | None:
    """4 or 2 (height and width dropped) if `node` is a mean over (B,C,H,W)'s height and width."""
    if node.op_type == "GlobalAveragePool":
        return 4
    if node.op_type != "ReduceMean" or len(node.input) != 2 or node.input[1] not in constants:
        return None
    if sorted(constants[node.input[1]].tolist()) not in ([-2, -1], [2, 3]):
        return None
    kept = {each.name: each.i for each in node.attribute}.get("keepdims", 1)
    return 4 if kept else 2


def store_in_half(model: onnx.ModelProto) -> None:
    """Stores every large float32 constant that float16 holds exactly in float16.

    Each is cast back where it is used, which ONNX Runtime does once, when it loads the file.
    """
    graph, casts = model.graph, []
    for constant in graph.initializer:
        value = onnx.numpy_helper.to_array(constant)
        if value.dtype != np.float32 or value.size < SMALL:
            continue
        with np.errstate(over="ignore"):
            half = value.astype(np.float16)
        if np.array_equal(half.astype(np.float32), value):
            name, stored = constant.name, f"{constant.name}_half"
            constant.CopyFrom(onnx.numpy_helper.from_array(half, stored))
            casts.append(onnx.helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT))
    for place, cast in enumerate(casts):
        graph.node.insert(place, cast)
    onnx.checker.check_model(model)


def add_constant(graph: onnx.GraphProto, name: str, value: np.ndarray) -> None:
    """Adds a constant tensor to the graph under this name."""
    graph.initializer.append(onnx.numpy_helper.from_array(value, name))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppresses messages of torch.onnx about operators and packages that are not used here."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
