"""Optional packages: which `pip install "unhaze[...]"` brings a module that is missing here."""

from unhaze.errors import UnhazeError

# Imported module: what people call it, and the extra that installs it.
EXTRAS = {
    "av": ("PyAV", "video"),
    "pi_heif": ("pi-heif", "heic"),
    "rawpy": ("rawpy", "raw"),
    "imagecodecs": ("imagecodecs", "formats"),
    "OpenEXR": ("OpenEXR", "formats"),
    "tifffile": ("tifffile", "formats"),
    "PIL": ("Pillow", "formats"),
    "torch": ("PyTorch", "train"),
    "fsspec": ("fsspec", "cloud"),
    "ray": ("Ray", "cluster"),
    "matplotlib": ("Matplotlib", "report"),
    "fastapi": ("FastAPI", "web"),
    "hypercorn": ("Hypercorn", "web"),
    "prometheus_client": ("prometheus-client", "web"),
    "lightning": ("Lightning Fabric", "train"),
    "lightning_fabric": ("Lightning Fabric", "train"),
    "onnx": ("onnx", "train"),
    "onnxscript": ("onnxscript", "train"),
    "safetensors": ("safetensors", "train"),
    "tensorboard": ("TensorBoard", "train"),
    "tomli_w": ("tomli-w", "train"),
    "tqdm": ("tqdm", "train"),
}


def explain_missing(error: ModuleNotFoundError, owner: str) -> UnhazeError | None:
    """The error that says what `owner` (a verb, a function) needs and how to install it.

    None when the missing module belongs to no extra: then it is a fault of this program.
    """
    module = (error.name or "").partition(".")[0]
    if module not in EXTRAS:
        return None
    package, extra = EXTRAS[module]
    return UnhazeError(f'{owner} needs {package}: pip install "unhaze[{extra}]"')
