"""Restores photos: the effect of the network on a small analysis image is applied to the photo."""

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from unhaze import formats
from unhaze import photo as photos
from unhaze.atomic import check_target, make_folder
from unhaze.errors import UnhazeError
from unhaze.image import check_pixels, to_float, to_u8
from unhaze.outputs import AS_MODEL, AS_SOURCE, CONTROLS, Controls, Output, remarks
from unhaze.photo import Opened, Photo, Stream, Traits, as_stored, upright
from unhaze.photo.series import Series
from unhaze.restore.analysis import (
    VISIBLE,
    Colours,
    analysis_image,
    apply_managed,
    colours_by,
    colours_of,
    filled,
    turned_back,
    where_data_is,
    with_data_only,
)
from unhaze.restore.controlling import REMOVED, STAYS, SURE, controlled, keeps_cast
from unhaze.restore.field import apply_field, check_strength, fit_field
from unhaze.restore.models import FRAME_ANALYSIS, Model, analysis_of, find_model, open_model
from unhaze.restore.native import advising, restore_pixels, restore_whole
from unhaze.restore.preview import Preview, comparison, field_pictures
from unhaze.restore.resources import tell_cost


class Restorer:
    """A loaded model that restores any number of photos; `model.card` describes the model."""

    def __init__(
        self,
        model: str | Path = "auto",
        device: str = "auto",
        *,
        analysis: int | None = None,
        native: bool = False,
        threads: int = 0,
        memory: float | None = None,
        use: str = "photo",
    ) -> None:
        """`model`: a shipped name, "auto", a .onnx file or a prior such as "dcp". `device`: "auto",
        "cpu", "cuda" ... `analysis`: long side in pixels of the network's input; None: as stated in
        the model's card, else 1024, and at most 640 for frames of videos and animations. `native`:
        run on every pixel instead. `threads`: 0 for one per core. `memory`: bytes that the network
        may use; None: the free memory. `use`: "photo" or "video", on which "auto" depends as well.
        UnhazeError: unknown model or device, analysis < 16.
        """
        if analysis is not None and (not isinstance(analysis, int) or analysis < 16):
            raise UnhazeError(f"analysis is {analysis!r} pixels; expected at least 16")
        if not isinstance(threads, int) or threads < 0:
            raise UnhazeError(f"threads is {threads!r}; expected 0 (one per core) or more")
        self.model = open_model(model, device, threads=threads, use=use)
        self.automatic = str(model) == "auto"
        self.others: dict[Path, Model] = {}  # selected by "auto" for single pictures
        self.device = device
        self.use = use
        self.controls = AS_MODEL
        self.analysis = analysis or analysis_of(self.model)
        self.frame_analysis = analysis or min(FRAME_ANALYSIS, self.analysis)
        self.native = native
        self.threads = threads
        self.memory = memory
        if native:
            tell_cost(self.model)

    def controlled(self, controls: Controls) -> "Restorer":
        """Returns a Restorer with these controls and the same model. UnhazeError: `native`."""
        if controls == self.controls:
            return self
        if self.native and controls.any_given:
            names = ", ".join(CONTROLS)
            raise UnhazeError(f"{names} cannot be combined with native; leave it out")
        other = copy(self)
        other.controls = controls
        return other

    def restore_file(
        self,
        source: str | Path,
        target: str | Path,
        *,
        strength: float = 1.0,
        overwrite: bool = False,
        compare: Path | None = None,
        save_field: Path | None = None,
        seen: Preview | None = None,
        output: Output = AS_SOURCE,
    ) -> None:
        """Writes the restored `source` to `target`, in strips: memory does not depend on its size.

        Everything but the colours is kept. `compare`: a picture to write, before and after side by
        side. `save_field`: a folder in which to write NAME.transmission.png and NAME.airlight.png,
        with the NAME of `target`. All files are written atomically. `seen`: result of `look` for
        this file, which saves running the network again. `output`: quality, depth, colours and so
        on of `target`, whose suffix selects the format. Animations are restored frame by frame, if
        `target` supports them. UnhazeError: `source` cannot be read, something cannot be written,
        or exists without `overwrite`.
        """
        check_strength(strength)
        source, target = Path(source), Path(target)
        extra = [] if compare is None else [Path(compare)]
        if save_field is not None:
            make_folder(Path(save_field))
            kinds = ("transmission", "airlight")
            extra += [Path(save_field) / f"{target.name}.{kind}.png" for kind in kinds]
        for path in (target, *extra):
            photos.check_suffix(path.suffix)
            check_target(path, source, overwrite)
        series = self._restored_series(source, target.suffix, strength)
        if series is not None:
            photos.write_series(series, target, source, overwrite=overwrite, output=output)
        if series is None or extra:
            seen = seen if output.bands is None else None  # the bands may differ
            with photos.open_photo(source, bands=output.channels) as hazy:
                if series is not None:  # its frames are not balanced by themselves
                    seen = seen or self.look(hazy)
                restored, seen = self._restore_opened(hazy, strength, bool(extra), seen, output)
                if series is None:
                    photos.write(restored, target, overwrite=overwrite, output=output)
        if seen is not None:
            pictures = [comparison(to_u8(seen.hazy), to_u8(seen.restored))] if compare else []
            if save_field is not None:
                pictures += field_pictures(seen.maps, seen.hazy)
            for path, pixels in zip(extra, pictures):
                photos.write(Photo(pixels, traits=Traits(path=source)), path, overwrite=overwrite)

    def restore_bytes(
        self,
        encoded: bytes,
        suffix: str | None = None,
        *,
        strength: float = 1.0,
        output: Output = AS_SOURCE,
    ) -> bytes:
        """Maps the bytes of an image file to those of the restored one. `suffix`: of the format to
        write, e.g. ".png"; None: that of `output`, else that of `encoded`, or of what it becomes if
        it can only be read.
        """
        check_strength(strength)
        asked = suffix or output.named_suffix or formats.usual_suffix(encoded)
        series = self._restored_series(encoded, asked, strength)
        if series is not None:
            return photos.encode_series(series, asked, output)
        with photos.open_photo(encoded, bands=output.channels) as hazy:
            restored, _ = self._restore_opened(hazy, strength, output=output)
            suffix = suffix or output.named_suffix or photos.kept_suffix(hazy.traits)
            return photos.encode(restored, suffix, output=output)

    def _restored_series(self, source: Path | bytes, suffix: str, strength: float) -> Series | None:
        """Returns the restored frames; None: it is no animation, or `suffix` holds none."""
        target = formats.of_suffix(suffix)
        if self.native or target is None or not target.animated:
            return None
        if (series := photos.open_series(source)) is None:
            return None
        from unhaze.restore.video.frames import restored_series  # photos do without

        return restored_series(series, self, strength)

    def restore(self, photo: Photo, strength: float = 1.0) -> Photo:
        """Returns the restored photo; everything but the colours is kept."""
        check_strength(strength)
        if strength == 0:
            return photo
        small = analysis_image(photo, self.analysis)
        colours = colours_of(photo.traits, photo.pixels.dtype, small, photo.pixels.max)
        return replace(photo, pixels=self._restore_in(colours, photo, small, strength))

    def _restore_in(
        self, colours: Colours, photo: Photo, small: np.ndarray, strength: float
    ) -> np.ndarray:
        """Returns the restored pixels; `small`: the analysis image of the photo."""
        pixels = photo.pixels
        if self.native:
            alpha = None if photo.traits.extra else photo.alpha
            return self._restore_natively(pixels, strength, colours, alpha)
        seen = self._look(small, pixels.shape[:2], colours)
        settings = {"strength": strength, "threads": self.threads}
        done = apply_managed(seen.colours, seen.maps, [pixels], len(pixels), **settings)
        return np.concatenate(list(done))

    def _restore_natively(
        self, pixels: np.ndarray, strength: float, colours: Colours, alpha: np.ndarray | None
    ) -> np.ndarray:
        """Runs the network on every pixel, in sRGB for photos of other colours.

        Pixels hidden by `alpha` do not change; the network sees colours of visible ones there.
        """
        if alpha is not None and (hidden := to_float(alpha) <= VISIBLE).any():
            shown = filled(pixels, to_float(alpha))
            done = self._restore_natively(shown, strength, colours, None)
            return np.where(hidden[..., None], pixels, done)
        if colours.plain:
            return self.restore_pixels(pixels, strength, grey=colours.grey)
        hazy = colours.encoded(to_float(pixels))
        seen = colours.to_srgb(hazy)
        clear = self.restore_pixels(seen, strength, grey=colours.grey)
        return colours.as_stored(colours.from_srgb(clear, seen, hazy), pixels.dtype)

    def restore_pixels(
        self,
        pixels: np.ndarray,
        strength: float = 1.0,
        *,
        grey: bool = False,
        alpha: np.ndarray | None = None,
        profile: bytes | None = None,
    ) -> np.ndarray:
        """Restores (H,W,3) uint8, uint16 or float32 in [0,1]; returns the same type and size.

        `strength` 0 (exactly no change) to 1. `grey`: the result has three equal channels. `alpha`:
        (H,W) of the same type; pixels it hides have no influence. `profile`: ICC profile of the
        pixels; None: sRGB.
        """
        check_strength(strength)
        check_pixels(pixels, "pixels are")
        if strength == 0:
            return pixels.copy()
        colours = colours_by(Traits(grey=grey, profile=profile))
        if not colours.plain or (alpha is not None and to_float(alpha).min() < 1):
            photo = Photo(pixels, alpha, Traits(grey=grey))
            small = analysis_image(photo, self.analysis)
            return self._restore_in(colours, photo, small, strength)
        if self.native:
            model = self._model_for(*pixels.shape[:2])
            with advising(native=self.native, memory=self.memory):
                return restore_pixels(model, pixels, strength, grey=grey, memory=self.memory)
        seen = self._look(analysis_image(pixels, self.analysis), pixels.shape[:2], colours)
        return apply_field(seen.maps, pixels, strength=strength, threads=self.threads)

    def look(self, opened: Opened, *, automatic: bool = False) -> Preview:
        """Returns the small photo, fully restored, and its field; `automatic`: see `Controls`."""
        traits = opened.traits
        with opened.reading():
            image = with_data_only(opened.to_shrink(self.analysis), traits)
            small = analysis_image(image, self.analysis)
        small = upright(small, traits.orientation)
        colours = colours_of(traits, opened.dtype, small, opened.largest)
        return self._look(small, opened.shape[:2], colours, automatic)

    def _look(
        self, small: np.ndarray, size: tuple[int, int], colours: Colours, automatic: bool = True
    ) -> Preview:
        """Returns the Preview of an upright analysis image of a photo of this `size`."""
        hazy, stored, fit = self._fit_in(colours, small, size)

        def controlled_by(controls: Controls) -> Preview:
            maps = fit(controls)
            restored = colours.to_srgb(apply_field(maps, stored, threads=self.threads))
            return Preview(hazy, restored, maps, colours)

        seen = controlled_by(self.controls)
        balance = self.controls.white_balance
        if balance or self.use != "photo" or not keeps_cast(hazy, seen.restored):
            return seen
        if automatic and balance is None and keeps_cast(hazy, seen.restored, SURE):
            remarks.warning(REMOVED)
            return controlled_by(replace(self.controls, white_balance=1.0))
        remarks.warning(STAYS)
        return seen

    def _fit_in(
        self, colours: Colours, small: np.ndarray, size: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray, Callable[[Controls], np.ndarray]]:
        """Returns the picture in sRGB, as encoded, and what gives the field of the latter."""
        stored = colours.encoded(small)
        hazy = colours.to_srgb(stored)
        model = self._model_for(*size)
        tell_cost(model, hazy.shape[:2])
        with advising(native=self.native, memory=self.memory):
            clear = restore_whole(model, hazy, memory=self.memory)
        bounded = np.minimum(stored, 1)

        def fit(controls: Controls) -> np.ndarray:
            own = colours.from_srgb(controlled(hazy, clear, controls), hazy, stored)
            return fit_field(bounded, own, grey=colours.grey, threads=self.threads)

        return hazy, bounded, fit

    def name_for(self, height: int, width: int) -> str:
        """Returns the model for a picture of this size: a file name without suffix, or a prior."""
        model = self._model_for(height, width)
        return Path(model.path).stem if model.path else str(model.card["net"])

    def estimate(
        self, pixels: np.ndarray, *, grey: bool = False, profile: bytes | None = None
    ) -> np.ndarray:
        """Returns the affine field for `apply_field`, (3,2,h,w) float32 at analysis size.

        pixels: (H,W,3) uint8, uint16 or float32 in [0,1]. `profile`: their ICC profile; the field
        applies to the pixels as they are encoded. None: sRGB.
        """
        colours = colours_by(Traits(grey=grey, profile=profile))
        small = analysis_image(pixels, self.analysis)
        return self._fit_in(colours, small, pixels.shape[:2])[2](self.controls)

    def _model_for(self, height: int, width: int) -> Model:
        """Returns the loaded model, or, for "auto", the one for a picture of this size."""
        if not self.automatic:
            return self.model
        size = (height, width)
        path = find_model("auto", device=self.model.device, picture_size=size, use=self.use)
        if path == self.model.path:
            return self.model
        if path not in self.others:
            self.others[path] = open_model(path, self.device, threads=self.threads)
        return self.others[path]

    def _restore_opened(
        self,
        opened: Opened,
        strength: float,
        look: bool = False,
        seen: Preview | None = None,
        output: Output = AS_SOURCE,
    ) -> tuple[Photo | Stream, Preview | None]:
        """Returns the restored photo, as a stream not yet processed, and a Preview of it, at least
        if `look`. `seen`: from an earlier look, at full strength.
        """
        stream, traits = opened.stream(), opened.traits
        if output.bit_depth:  # before the field is applied, whose results use the additional bits
            stream = photos.widened(stream, output.bit_depth)
        if strength == 0 and not look:
            return stream, None
        if self.native and strength:
            whole = photos.whole(stream)
            done = self.restore(whole, strength)
            hazy = analysis_image(whole.pixels, self.analysis)
            restored = analysis_image(done.pixels, self.analysis)
            return done, Preview(hazy, restored, fit_field(hazy, restored, threads=self.threads))
        seen = seen or self.look(opened, automatic=strength > 0)
        restored = seen.hazy + np.float32(strength) * (seen.restored - seen.hazy)
        settings = {"height": stream.shape[0], "strength": strength, "threads": self.threads}
        apply = partial(apply_managed, seen.colours, turned_back(seen.maps, traits), **settings)
        strips = where_data_is(apply, stream.strips, stream.traits)
        preview = to_u8(as_stored(restored, traits.orientation)) if strength else None
        shown = Preview(seen.hazy, restored, seen.maps)
        return replace(stream, strips=strips, preview=preview), shown
